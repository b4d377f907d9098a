"""From counts of an infection to forecasts: `python examples/spread_of_infection.py …`, then `gnn`.

A record has the new cases of every region and day and, for every day, how many people moved between
regions. What is asked on a day is the number of new cases some days later (Panagopoulos et al.:
Transfer Graph Neural Networks for Pandemic Forecasting, 2021). The files that are written:

    nodes.csv     a node per region and day, "region@day"; its label is the cases so much later
    features.npy  the cases of that day and the six before it, in tens
    edges.csv     who moved on that day: how many (weight), and by how much of all arrivals that is:
                  few, some, many (type)
    splits.npz    one split per week that is forecast

A forecaster who stands at the beginning of a week knows no later count. So of every split the
train and val labels are counts of days up to then, val the latest of them; the test nodes are the
seven days from then on, each with the features of its own day.

    python examples/spread_of_infection.py cases.csv.gz edges.parquet covid --horizon 7
    gnn ingest --edges covid/edges.csv --nodes covid/nodes.csv --features covid/features.npy \
        --splits covid/splits.npz --out covid7
    gnn train covid7 --task node-regression --aggregator weighted --split-index 0 --out models/week
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

DAYS_READ, WEEK, VAL_DAYS = 7, 7, 3
FIRST_WEEK, TRAIN_DAYS = 21, 5
UNIT = 10.0
BOUNDS = 0.01, 0.1
STRENGTHS = np.array(["few", "some", "many"])
NONE, TRAIN, VAL, TEST = range(4)


def read_table(path: Path) -> pa.Table:
    """A Parquet file, or a CSV file that may be compressed."""
    return pq.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)


def read_cases(path: Path) -> tuple[list[str], np.ndarray]:
    """Regions, and new cases of every day in each, (days, regions)."""
    table = read_table(path).sort_by("day")
    days = table["day"].to_numpy()
    if not np.array_equal(days, np.arange(len(days))):
        raise SystemExit(f"{path}: days must be 0, 1, 2 … without a gap")
    regions = [name for name in table.column_names if name != "day"]
    return regions, np.stack([table[name].to_numpy() for name in regions], axis=1)


def read_moves(path: Path, num_days: int, num_regions: int) -> dict[str, np.ndarray]:
    """Day, source, destination and weight of every movement between two regions."""
    table = read_table(path)
    table = table.filter(pc.not_equal(table["src"], table["dst"]))
    moves = {name: table[name].to_numpy() for name in ("day", "src", "dst", "weight")}
    ends = np.concatenate([moves["src"], moves["dst"]])
    if len(ends) and not (ends.min() >= 0 and ends.max() < num_regions):
        raise SystemExit(f"{path}: regions must be 0 … {num_regions - 1}, the columns of the cases")
    known = (moves["day"] >= 0) & (moves["day"] < num_days)
    return {name: values[known] for name, values in moves.items()}


def features_of(cases: np.ndarray) -> np.ndarray:
    """The last seven days as of every day from the seventh on, newest first.

    Args:
        cases: (days, regions).

    Returns:
        (days - 6, regions, 7).
    """
    count = len(cases) - DAYS_READ + 1
    lags = [cases[DAYS_READ - 1 - lag :][:count] for lag in range(DAYS_READ)]
    return np.stack(lags, axis=2).astype(np.float32) / UNIT


def strengths(moves: dict[str, np.ndarray]) -> np.ndarray:
    """How strong every movement is among the arrivals of its day and destination."""
    place = np.stack([moves["day"], moves["dst"]], axis=1)
    _, group = np.unique(place, axis=0, return_inverse=True)
    arrivals = np.bincount(group, weights=moves["weight"])
    return STRENGTHS[np.digitize(moves["weight"] / arrivals[group], BOUNDS)]


def weeks_of(num_days: int, horizon: int) -> list[int]:
    """The first day of every week that is forecast, with all its outcomes on record."""
    earliest = max(FIRST_WEEK, DAYS_READ - 1 + horizon + TRAIN_DAYS)
    first = -(-earliest // WEEK) * WEEK
    return list(range(first, num_days - horizon - WEEK + 1, WEEK))


def split_of(today: int, days: np.ndarray, horizon: int) -> np.ndarray:
    """The part of every day, as one knows on `today`, (len(days),) uint8."""
    outcome = days + horizon
    part = np.full(len(days), NONE, np.uint8)
    part[outcome <= today] = TRAIN
    part[(outcome <= today) & (outcome > today - VAL_DAYS)] = VAL
    part[(days >= today) & (days < today + WEEK)] = TEST
    return part


def write(cases_file: Path, moves_file: Path, out: Path, horizon: int) -> dict[str, object]:
    """Write the files; returns their counts, and the error of taking today's count for the answer.

    Args:
        cases_file: columns `day`, and one per region.
        moves_file: columns `day`, `src`, `dst` and `weight`.
        out: the folder.
        horizon: days ahead.
    """
    regions, cases = read_cases(cases_file)
    moves = read_moves(moves_file, len(cases), len(regions))
    days = np.arange(DAYS_READ - 1, len(cases) - horizon)
    weeks = weeks_of(len(cases), horizon)
    if not weeks:
        raise SystemExit(f"{len(cases)} days are too few to forecast {horizon} days ahead")
    splits = np.stack([split_of(today, days, horizon) for today in weeks], axis=1)
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "features.npy", features_of(cases)[: len(days)].reshape(-1, DAYS_READ))
    np.savez(out / "splits.npz", split=np.repeat(splits, len(regions), axis=0))
    ids = np.array([f"{region}@{day}" for day in days for region in regions])
    labels = cases[days + horizon].reshape(-1).astype(float)
    csv.write_csv(pa.table({"id": ids, "label": labels}), out / "nodes.csv")
    kept = {name: v[np.isin(moves["day"], days)] for name, v in moves.items()}
    first = (kept["day"] - days[0]) * len(regions)
    edges = {"src": ids[first + kept["src"]], "dst": ids[first + kept["dst"]]}
    edges |= {"type": strengths(kept), "weight": kept["weight"].astype(float)}
    csv.write_csv(pa.table(edges), out / "edges.csv")
    errors = np.abs(cases[days + horizon] - cases[days]).mean(axis=1)
    baseline = [float(errors[splits[:, i] == TEST].mean()) for i in range(len(weeks))]
    return {"nodes": len(ids), "edges": len(kept["day"]), "weeks": weeks, "last_day_mae": baseline}


def main() -> None:
    parser = argparse.ArgumentParser(description="Files for gnn ingest of cases and movements.")
    parser.add_argument("cases", type=Path, help="columns day, and one per region")
    parser.add_argument("moves", type=Path, help="columns day, src, dst, weight")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--horizon", type=int, default=7, help="days ahead")
    given = parser.parse_args()
    print(json.dumps(write(given.cases, given.moves, given.out, given.horizon)))


if __name__ == "__main__":
    main()
