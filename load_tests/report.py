"""A run on paper: `python load_tests/report.py RECORDS.csv OUT.svg [OUT.html]`.

Above, the median and the 99th percentile of each second in which requests were due; below, the
whole distribution of each kind on a scale of percentiles, where a straight line upwards is a tail
that one percentile would not show.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from verdict import Record, read_records, summary

COLORS = {"lookup": "#1f6feb", "batch": "#d1242f", "link": "#8250df", "graph": "#1a7f37",
          "job": "#9a6700", "result": "#bf8700", "bad": "#57606a"}  # fmt: skip
COLUMNS = ("count", "errors", "per_s", "p50_ms", "p90_ms", "p99_ms", "p99.9_ms", "max_ms")


def draw(records: Sequence[Record], path: Path) -> None:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (over_time, tails) = plt.subplots(2, 1, figsize=(9, 7), layout="constrained")
    for kind, color in COLORS.items():
        mine = [record for record in records if record.kind == kind]
        if mine:
            _over_time(over_time, mine, color)
            _tail(tails, mine, kind, color)
    over_time.set(xlabel="due, seconds since the start", ylabel="ms, median and p99 (thin)",
                  yscale="log")  # fmt: skip
    ticks = [50, 90, 99, 99.9, 99.99]
    tails.set(xlabel="percentile", ylabel="ms from due to answered", yscale="log",
              xticks=[_nines(p) for p in ticks], xticklabels=[f"{p:g}" for p in ticks])  # fmt: skip
    for axes in (over_time, tails):
        axes.grid(alpha=0.3)
    tails.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _over_time(axes: Any, records: Sequence[Record], color: str) -> None:
    second = np.array([int(record.due_s) for record in records])
    latency = np.array([record.latency_s for record in records]) * 1e3
    seconds = np.unique(second)
    for percentile, width in ((50, 1.6), (99, 0.7)):
        values = [np.percentile(latency[second == s], percentile) for s in seconds]
        axes.plot(seconds, values, color=color, linewidth=width)


def _tail(axes: Any, records: Sequence[Record], kind: str, color: str) -> None:
    latency = np.sort([record.latency_s for record in records]) * 1e3
    percentiles = 100 * (np.arange(len(latency)) + 0.5) / len(latency)
    axes.plot(_nines(percentiles), latency, color=color, label=f"{kind} ({len(latency):,})")


def _nines(percentile: Any) -> Any:
    """Number of nines: 90 is 1, 99 is 2."""
    return -np.log10(1 - np.asarray(percentile) / 100)


def table(records: Sequence[Record]) -> str:
    """The summary in Markdown."""
    head = "| kind | " + " | ".join(c.replace("_", " ") for c in COLUMNS) + " |"
    rows = [
        f"| {kind} | " + " | ".join(f"{row[c]:,}" for c in COLUMNS) + " |"
        for kind, row in summary(records).items()
    ]
    return "\n".join([head, "|---|" + "---:|" * len(COLUMNS), *rows])


def page(records: Sequence[Record], picture: Path) -> str:
    """One HTML page that loads nothing."""
    svg = picture.read_text()
    text = html.escape(table(records))
    return f"<!doctype html><meta charset=utf-8><title>Load</title>{svg}<pre>{text}</pre>\n"


if __name__ == "__main__":
    found, out = read_records(Path(sys.argv[1])), Path(sys.argv[2])
    draw(found, out)
    if len(sys.argv) > 3:
        Path(sys.argv[3]).write_text(page(found, out))
    print(table(found))
