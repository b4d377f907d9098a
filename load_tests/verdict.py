"""What became of every request, and whether that is good enough.

Latency is counted from the time at which a request was due, not from when it could be sent: a
server that stalls for a second makes everything due in that second late, and all of it counts
("coordinated omission", Tene 2013).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Limits", "Record", "judge", "read_records", "summary", "write_records"]

PERCENTILES = (50, 90, 99, 99.9)


@dataclass(frozen=True, slots=True)
class Record:
    """One request.

    Attributes:
        kind: of `mix.KINDS`, or `result` of a job.
        due_s: when it was due, seconds since the start.
        sent_after_s: how much later the generator sent it.
        latency_s: from due to the last byte of the answer.
        status: of HTTP; 0 where there was no answer.
        is_right: whether the answer was what it should be.
    """

    kind: str
    due_s: float
    sent_after_s: float
    latency_s: float
    status: int
    is_right: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run must keep to.

    Attributes:
        p99_ms: of lookups and refusals of bad input.
        heavy_p99_ms: of every other kind, but for results of jobs.
        error_share: wrong, failed and missing answers, of all.
        late_share: requests that the generator itself sent 50 ms late or more; beyond it the run
            says nothing of the server.
    """

    p99_ms: float = 250.0
    heavy_p99_ms: float = 2000.0
    error_share: float = 0.001
    late_share: float = 0.05


LATE_S = 0.05
LIGHT = frozenset({"lookup", "bad"})
UNTIMED = frozenset({"result", "all"})


def summary(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Per kind and for all: count, errors, rate per second, percentiles of latency in ms."""
    kinds = sorted({record.kind for record in records})
    found = {kind: _summary([r for r in records if r.kind == kind]) for kind in kinds}
    return found | {"all": _summary(records)} if records else {}


def _summary(records: Sequence[Record]) -> dict[str, Any]:
    latencies = np.array([record.latency_s for record in records]) * 1e3
    dues = [record.due_s for record in records]
    seconds = max(max(dues) - min(dues), 1e-9)
    values = np.percentile(latencies, PERCENTILES)
    return {
        "count": len(records),
        "errors": sum(not record.is_right for record in records),
        "per_s": round((len(records) - 1) / seconds, 2),
        **{f"p{p:g}_ms": round(float(v), 2) for p, v in zip(PERCENTILES, values, strict=True)},
        "max_ms": round(float(latencies.max()), 2),
    }


def judge(records: Sequence[Record], limits: Limits) -> list[str]:
    """What was not kept, a sentence each; nothing where all was."""
    if not records:
        return ["no request was sent"]
    found = summary(records)
    failures = [*_too_slow(found, limits), *_without_results(records)]
    share = found["all"]["errors"] / len(records)
    if share > limits.error_share:
        failures.append(f"{share:.2%} of the answers were wrong or missing; the limit is "
                        f"{limits.error_share:.2%}")  # fmt: skip
    late = sum(record.sent_after_s > LATE_S for record in records) / len(records)
    if late > limits.late_share:
        failures.append(f"the generator sent {late:.1%} of the requests late, so this run says "
                        "nothing; give it more cores or a lower --rate")  # fmt: skip
    return failures


def _too_slow(found: dict[str, dict[str, Any]], limits: Limits) -> Iterable[str]:
    for kind, row in found.items():
        limit = limits.p99_ms if kind in LIGHT else limits.heavy_p99_ms
        if kind not in UNTIMED and row["p99_ms"] > limit:
            yield f"p99 of {kind} is {row['p99_ms']:.0f} ms; the limit is {limit:.0f} ms"


def _without_results(records: Sequence[Record]) -> Iterable[str]:
    num_jobs = sum(record.kind == "job" for record in records)
    if num_jobs and not any(record.kind == "result" and record.is_right for record in records):
        yield f"{num_jobs} jobs were sent and no result came; does `gnn worker` run?"


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Keep all requests as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Record)])
        writer.writerows(astuple(record) for record in records)


def read_records(path: Path) -> list[Record]:
    """Those requests."""
    with path.open(newline="") as file:
        return [
            Record(r["kind"], float(r["due_s"]), float(r["sent_after_s"]), float(r["latency_s"]),
                   int(r["status"]), r["is_right"] == "True")
            for r in csv.DictReader(file)
        ]  # fmt: skip
