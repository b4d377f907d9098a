"""F8, F10, F11: too little memory, a thread that hangs, a clock that jumps."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from faults.kills import run_job
from faults.load import loading
from faults.oracle import Oracle
from faults.outcome import Outcome, Target, times
from faults.processes import Service, plain_environment, service, wait_for, worker
from faults.worlds import World
from redisserver import redis_server
from world import ROOT

__all__ = ["blocked_loop", "clock_jumps", "little_memory", "stuck_compute"]


def little_memory(world: World, folder: Path, count: int) -> Outcome:
    """F8: a command under a limit of memory ends by itself with one sentence, and no output."""
    done = Outcome("F8", f"`gnn embed` under {count} limits of memory (`RLIMIT_DATA`)")
    # under about 130 MB torch itself cannot be loaded
    worked = 0
    for turn in range(count):
        limit = (140 + 15 * turn) << 20
        out = folder / f"rows{turn}"
        words = ["embed", world.graph, world.models / "default", "--out", out]
        run = subprocess.run(
            [sys.executable, "-m", "service.cli", *map(str, words)], env=plain_environment(),
            cwd=ROOT, capture_output=True, text=True, check=False,
            preexec_fn=lambda limit=limit: resource.setrlimit(
                resource.RLIMIT_DATA, (limit, limit)),
        )  # fmt: skip
        worked += run.returncode == 0
        assert (run.returncode == 0) == out.exists(), (limit >> 20, run.returncode, run.stderr)
        if run.returncode > 0:
            done.failed["traceback"] += "Traceback" in run.stderr
        else:
            done.failed["signal"] += run.returncode < 0
    done.failed = +done.failed
    done.note = f"{worked} ran, {count - worked} were refused with a sentence and left nothing"
    return done


def blocked_loop(world: World, folder: Path, count: int) -> Outcome:
    """F10: an event loop stands still for 2 s; then everything that waited is answered."""
    done = Outcome("F10", f"event loop blocked for 2 s (test hook), {times(count)}")
    with (
        service(world, folder, module="faults.hooked", workers=1) as api,
        loading(api.port, Oracle(world)) as load,
    ):
        for _ in range(count):
            began = time.monotonic()
            assert api.get("/hook/block?seconds=2").status == 200
            load.answer_more()
            done.recovery_s = max(done.recovery_s, time.monotonic() - began)
        load.end()
        done.note = f"slowest answer {load.slowest_s(0.0):.1f} s"
        return done.count(load)


def stuck_compute(world: World, folder: Path, count: int) -> Outcome:
    """F10: the compute thread hangs for 8 s; requests are over at their deadline of 2 s with 504,
    and health still answers.
    """
    done = Outcome("F10", f"compute thread stuck for 8 s (test hook), {times(count)}",
                   allowed={"504": 10**6})  # fmt: skip
    given = {"workers": 1, "request_timeout_ms": 2000}
    with (
        service(world, folder, module="faults.hooked", **given) as api,
        loading(api.port, Oracle(world)) as load,
    ):
        for _ in range(count):
            began = time.monotonic()
            assert api.get("/hook/stick?seconds=8").status == 200
            while time.monotonic() - began < 7:
                asked = time.monotonic()
                assert api.get("/health/live").status == 200
                assert time.monotonic() - asked < 2
            load.answer_more()
            done.recovery_s = max(done.recovery_s, time.monotonic() - began)
        load.end()
        assert load.count()["504"] > 0
        slowest = max(e.seconds for e in load.events if e.what == "504")
        done.note = f"health answered throughout; {load.count()['504']} were over at their deadline"
        done.targets = [Target("slowest 504", slowest, 2.5, "s")]
        return done.count(load)


def clock_jumps(world: World, folder: Path, count: int) -> Outcome:
    """F11: the wall clock of service and worker jumps by an hour, there and back, during jobs."""
    did = f"wall clock of service and worker jumps by an hour and back during jobs, {times(count)}"
    done, clock = Outcome("F11", did), folder / "clock"
    moved = {"LD_PRELOAD": str(_compiled(folder)), "CLOCK_FILE": str(clock)}
    _move(clock, 0)
    with redis_server(folder) as redis:
        given = {"redis_url": redis.url, "jobs": folder / "jobs", "job_tile_rows": 2,
                 "job_lease_s": 30.0, "job_ttl_hours": 0.5}  # fmt: skip
        with service(world, folder, environment=moved, **given) as api:
            whole, _ = run_job(api, folder, given)
            with (
                loading(api.port, Oracle(world)) as load,
                worker(world, log=folder / "moved.log", environment=moved, **given),
            ):
                for turn in range(count):
                    job = api.post("/v1/jobs", kind="embed").json()["id"]
                    wait_for(lambda job=job: api.get(f"/v1/jobs/{job}").json()["state"] != "queued")
                    _move(clock, 3600 if turn % 2 == 0 else -3600)
                    load.answer_more()
                    row = wait_for(lambda job=job: _row(api, job))
                    right = row["state"] == "done" and row["result"]["sha256"] == whole
                    done.lost += not right or row["attempts"] != 1
                    _move(clock, 0)
                load.end()
            return done.count(load)


def _compiled(folder: Path) -> Path:
    """The library that moves the clock."""
    library = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def _move(clock: Path, seconds: int) -> None:
    """Set the clock so many seconds apart from the true time, in place: it is mapped."""
    with clock.open("r+b" if clock.exists() else "wb") as file:
        file.write(seconds.to_bytes(8, "little", signed=True))


def _row(api: Service, job: str) -> dict[str, Any] | None:
    row = api.get(f"/v1/jobs/{job}").json()
    return row if row["state"] not in ("queued", "running") else None
