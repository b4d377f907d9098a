"""The soak test sees what grows, and nothing where nothing does."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from faults.processes import service, wait_for
from faults.soak import Sample, _Beside, judge, soak
from faults.worlds import every_model


def samples(
    leak_bytes: float = 0.0, leak_handles: float = 0.0, slower: float = 0.0, count: int = 200
) -> list[Sample]:
    """Half an hour of a service that is noisy, and may grow."""
    rng = np.random.default_rng(0)
    warm_up = 40e6 * (1 - np.exp(-np.arange(count) / 8))
    return [
        Sample(
            seconds=9.0 * i,
            pss_bytes=int(600e6 + warm_up[i] + leak_bytes * 500 * i + rng.normal(0, 1e6)),
            handles=int(90 + leak_handles * i + rng.integers(0, 8)),
            threads=16 + int(rng.integers(0, 3)),
            p99_ms=float(rng.lognormal(4, 0.3) * np.exp(slower * i)),
            answers=500 * i,
        )
        for i in range(count)
    ]


def test_noise_and_a_warm_up_are_no_growth():
    assert judge(samples()) == []


@pytest.mark.parametrize(
    ("grows", "said"),
    [
        ({"leak_bytes": 1024}, "memory grew by"),
        ({"leak_handles": 0.5}, "handles grew by"),
        ({"slower": 0.02}, "p99 grew from"),
    ],
)
def test_what_grows_is_said(grows: dict[str, float], said: str):
    [failure] = judge(samples(**grows))
    assert said in failure


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("leak_bytes", [0, 32 * 1024])
def test_a_leak_of_a_real_service_is_seen_and_its_absence_too(tmp_path: Path, leak_bytes: int):
    """32 KB a request, so that a few minutes of a slow machine show what 1 KB does in an hour."""
    world = every_model(tmp_path)
    seen, counts = soak(world, tmp_path, 4.0, leak_bytes, every_s=2.0)
    assert set(counts) == {"right"}
    grown = [failure for failure in judge(seen) if failure.startswith("memory")]
    assert bool(grown) == bool(leak_bytes), (grown, seen[0], seen[-1])


def test_jobs_run_beside_the_load_and_a_refused_one_is_said(tmp_path: Path):
    world = every_model(tmp_path)
    with service(world, tmp_path, workers=1, jobs=tmp_path / "jobs") as api:
        with _Beside(api) as beside:
            wait_for(lambda: beside.jobs or beside.wrong)
        assert beside.counts() == {}
    with service(world, tmp_path, workers=1, jobs=tmp_path / "jobs", max_job_ids=1) as api:
        with _Beside(api) as beside:
            wait_for(lambda: beside.wrong["job: 422"])
        assert beside.counts() == {"job: 422": 1, "no job was done": 1}
