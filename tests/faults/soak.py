"""`PYTHONPATH=tests python -m faults.soak [--minutes 30] [--out docs/soak.svg]`: does it grow?

The service runs at half load with jobs beside it while memory (proportional set size of all its
processes), file descriptors, threads and latency are read every few seconds. After a warm-up the
slope of each is estimated by Theil and Sen's median of slopes, which single peaks do not move. The
same run with a leak built in (`--leak-bytes`) must fail, or the test would see nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import psutil
from faults.client import NoAnswerError
from faults.load import RIGHT, Load, saturation
from faults.oracle import Oracle
from faults.processes import Service, service
from faults.worlds import World, every_model

__all__ = ["Limits", "Sample", "judge", "soak"]

EVERY_S = 5.0
WARM = 0.25
"""Part of a run that is warm-up: caches fill and allocators find their size."""
HALF = 0.5
JOB_S = 120.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a service.

    Attributes:
        seconds: since the start.
        pss_bytes: memory of all its processes, shared pages counted once.
        handles: open file descriptors.
        threads: of all processes.
        p99_ms: of the answers since the last look.
        answers: right answers so far.
    """

    seconds: float
    pss_bytes: int
    handles: int
    threads: int
    p99_ms: float
    answers: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What an hour may add, and what a run may grow by in all.

    A slope is only believed where it also adds up to more than the noise of the measurement.
    """

    bytes_per_answer: float = 100.0
    grown_bytes: int = 8 << 20
    handles_per_hour: float = 60.0
    grown_handles: int = 16
    latency_factor: float = 3.0


def soak(
    world: World, folder: Path, minutes: float, leak_bytes: int = 0, every_s: float = EVERY_S
) -> tuple[list[Sample], dict[str, int]]:
    """Run; what was seen, and what became of all requests."""
    oracle, leak = Oracle(world), {"GNN_TEST_LEAK_BYTES": str(leak_bytes)}
    given = {"jobs": folder / "jobs", "workers": 1 if leak_bytes else 2, "cache_bytes": 1 << 20}
    module = "faults.hooked" if leak_bytes else "service.cli"
    with service(world, folder, module=module, environment=leak, **given) as api:
        load = Load(api.port, oracle, HALF * saturation(api.port, oracle))
        load.start()
        try:
            with _Beside(api) as beside:
                samples = _watch(api, load, minutes * 60, every_s)
        finally:
            load.end()
        return samples, dict(load.count()) | beside.counts()


class _Beside:
    """What is asked beside the load: jobs, neighbors, and requests that make no sense.

    Attributes:
        jobs: that were done, their results discarded.
        wrong: what else became of anything.
    """

    def __init__(self, api: Service) -> None:
        self.api, self.jobs, self.wrong = api, 0, Counter[str]()
        self._stop = threading.Event()
        works = (self._send_jobs, self._ask)
        self._threads = [threading.Thread(target=work) for work in works]

    def __enter__(self) -> _Beside:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def counts(self) -> dict[str, int]:
        """What went wrong; that no job was done is wrong too."""
        return dict(self.wrong) | ({} if self.jobs else {"no job was done": 1})

    def _send_jobs(self) -> None:
        """One after the other, ten seconds apart."""
        while not self._stop.is_set():
            try:
                said = self.api.post("/v1/jobs", kind="predict", nodes=list(range(100, 400)))
                what = str(said.status) if said.status != 202 else self._outcome(said.json()["id"])
            except NoAnswerError as error:
                what = error.kind
            if what == "done":
                self.jobs += 1
            else:
                self.wrong[f"job: {what}"] += 1
            self._stop.wait(10)

    def _outcome(self, job: str) -> str:
        """How it ended; then it is discarded."""
        ends = time.monotonic() + JOB_S
        while (state := self.api.get(f"/v1/jobs/{job}").json()["state"]) in ("queued", "running"):
            if time.monotonic() > ends:
                return "not done in time"
            time.sleep(0.2)
        self.api.delete(f"/v1/jobs/{job}")
        return str(state)

    def _ask(self) -> None:
        """Neighbors of a node, and two requests that must be refused."""
        while not self._stop.wait(0.2):
            try:
                for path, status in (("/v1/graph/nodes/100/neighbors", 200),
                                     ("/v1/graph/nodes/7/neighbors", 404)):  # fmt: skip
                    got = self.api.get(path).status
                    self.wrong[f"{path}: {got}"] += got != status
                got = self.api.post("/v1/nodes/predict", nodes=["x"]).status
                self.wrong[f"bad input: {got}"] += got != 422
            except NoAnswerError as error:
                self.wrong[error.kind] += 1
        self.wrong = +self.wrong


def _watch(api: Service, load: Load, seconds: float, every_s: float) -> list[Sample]:
    samples, began, seen = list[Sample](), time.monotonic(), 0
    while time.monotonic() - began < seconds:
        time.sleep(every_s)
        events = load.events[seen:]
        seen += len(events)
        took = [event.seconds * 1e3 for event in events if event.what == RIGHT]
        p99 = float(np.percentile(took, 99)) if took else 0.0
        pss, handles, threads = _held(api)
        since = time.monotonic() - began
        samples.append(Sample(since, pss, handles, threads, p99, load.count()[RIGHT]))
    return samples


def _held(api: Service) -> tuple[int, int, int]:
    """Memory, file descriptors and threads of the server and what answers; a runner of jobs, which
    comes and goes, is left out.
    """
    pss = handles = threads = 0
    for process in [psutil.Process(api.pid), *api.workers()]:
        pss += process.memory_full_info().pss
        handles += process.num_fds()
        threads += process.num_threads()
    return pss, handles, threads


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Theil-Sen: the median of the slopes between all pairs (of at most 300 points)."""
    step = max(1, len(x) // 300)
    points = list(zip(x[::step], y[::step], strict=True))
    slopes = [(b - a) / (t - s) for (s, a), (t, b) in combinations(points, 2) if t > s]
    return float(np.median(slopes)) if slopes else 0.0


def judge(samples: Sequence[Sample], limits: Limits | None = None) -> list[str]:
    """What grew, a sentence each."""
    limits = limits or Limits()
    warm = samples[int(len(samples) * WARM) :]
    answers = [float(sample.answers) for sample in warm]
    hours = [sample.seconds / 3600 for sample in warm]
    failures = []
    per_answer = slope(answers, [float(sample.pss_bytes) for sample in warm])
    grown = per_answer * (answers[-1] - answers[0])
    if per_answer > limits.bytes_per_answer and grown > limits.grown_bytes:
        failures.append(f"memory grew by {per_answer:.0f} bytes per answer, {grown / 1e6:.1f} MB "
                        f"in {answers[-1] - answers[0]:.0f} answers")  # fmt: skip
    for name in ("handles", "threads"):
        rate = slope(hours, [float(getattr(sample, name)) for sample in warm])
        grown = rate * (hours[-1] - hours[0])
        if rate > limits.handles_per_hour and grown > limits.grown_handles:
            failures.append(f"{name} grew by {rate:.0f} per hour")
    third = max(len(warm) // 3, 1)
    first, last = (np.median([s.p99_ms for s in part]) for part in (warm[:third], warm[-third:]))
    if last > limits.latency_factor * max(first, 50.0):
        failures.append(f"p99 grew from {first:.0f} to {last:.0f} ms")
    return failures


def draw(samples: Sequence[Sample], path: Path) -> None:
    """The picture: four quantities over time."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    minutes = [sample.seconds / 60 for sample in samples]
    rows = {
        "memory, MB (PSS)": [sample.pss_bytes / 1e6 for sample in samples],
        "file descriptors": [sample.handles for sample in samples],
        "threads": [sample.threads for sample in samples],
        "p99, ms": [sample.p99_ms for sample in samples],
    }
    figure, axes = plt.subplots(4, 1, figsize=(8, 7), sharex=True, layout="constrained")
    for axis, (name, values) in zip(axes, rows.items(), strict=True):
        axis.plot(minutes, values, color="#1f6feb", linewidth=1)
        axis.set_ylabel(name)
        axis.set_ylim(0, max(values) * 1.15 or 1)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("minutes")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--leak-bytes", type=int, default=0, help="per request, built in")
    parser.add_argument("--out", type=Path, default=Path("build/soak.svg"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        world = every_model(folder / "world")
        samples, counts = soak(world, folder, given.minutes, given.leak_bytes)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    draw(samples, given.out)
    given.out.with_suffix(".json").write_text(json.dumps([asdict(s) for s in samples]))
    failures = judge(samples)
    failures += [f"{n} requests: {what}" for what, n in counts.items() if what != RIGHT]
    first, last = samples[int(len(samples) * WARM)], samples[-1]
    print(f"{counts.get(RIGHT, 0):,} answers in {given.minutes:g} minutes; after the warm-up "
          f"memory went from {first.pss_bytes / 1e6:.1f} to {last.pss_bytes / 1e6:.1f} MB, file "
          f"descriptors from {first.handles} to {last.handles}, threads from {first.threads} to "
          f"{last.threads}")  # fmt: skip
    print("\n".join(failures) or "nothing grew")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
