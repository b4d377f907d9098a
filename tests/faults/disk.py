"""F6, F7: a disk that is full, and one that fails at random."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faults.kills import finish
from faults.load import loading
from faults.oracle import Oracle
from faults.outcome import Outcome, times
from faults.processes import Service, plain_environment, service, wait_for, worker
from faults.worlds import World
from redisserver import redis_server
from world import ROOT

from gnn import EmbeddingTable

__all__ = ["disk_full", "failing_disk", "log_disk_full", "metrics_disk_full"]

SMALL = "8m"
ROWS = "embeddings.npy"


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, leave_bytes: int = 0) -> Path:
    """Take all room but so much; the file that takes it."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file, suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
            file.flush()
    if leave_bytes:
        os.truncate(ballast, max(ballast.stat().st_size - leave_bytes, 0))
    return ballast


def _no_root() -> str:
    return "" if os.geteuid() == 0 else "mounting a small disk needs root"


def disk_full(world: World, folder: Path, count: int) -> Outcome:
    """F6: no room for jobs; they fail by name, predictions go on, and with room they work again."""
    done = Outcome("F6", f"disk of the jobs full, {times(count)}", not_run=_no_root())
    if done.not_run:
        return done
    with small_disk(folder / "disk") as disk:
        given = {"jobs": disk / "jobs", "job_tile_rows": 64}
        with service(world, folder, **given) as api, loading(api.port, Oracle(world)) as load:
            for turn in range(count):
                ballast = fill(disk, leave_bytes=65536 * (turn % 3))
                said = api.post("/v1/jobs", kind="embed")
                row = said.json()
                outcome = _end(api, row["id"]) if said.status == 202 else row["code"]
                assert outcome in ("no_space", "jobs_unavailable"), outcome
                assert str(disk) not in said.body.decode()
                load.answer_more()
                ballast.unlink()
                began = time.monotonic()
                wait_for(lambda: _works(api))
                done.recovery_s = max(done.recovery_s, time.monotonic() - began)
            load.end()
            done.note = "each refused or failed as `no_space` or `jobs_unavailable`"
            return done.count(load)


def _end(api: Service, job: str) -> str:
    """How a job that was accepted failed."""

    def failed() -> str | None:
        answer = api.get(f"/v1/jobs/{job}")
        if answer.status != 200:
            return str(answer.json()["code"])
        row = answer.json()
        if row["state"] in ("queued", "running"):
            return None
        return str(row["error"]["code"]) if row["error"] else str(row["state"])

    return str(wait_for(failed))


def _works(api: Service) -> bool:
    """Whether a job comes to its end."""
    said = api.post("/v1/jobs", kind="embed", nodes=[105, 106])
    if said.status != 202:
        return False
    return wait_for(lambda: _state(api, said.json()["id"])) == "done"


def _state(api: Service, job: str) -> str | None:
    state = api.get(f"/v1/jobs/{job}").json().get("state")
    return None if state in ("queued", "running") else str(state)


def log_disk_full(world: World, folder: Path, count: int) -> Outcome:
    """F6: no room for the log; requests are answered all the same, those that fail included."""
    done = Outcome("F6", "disk of the log full", not_run=_no_root())
    if done.not_run:
        return done
    with small_disk(folder / "disk") as disk, redis_server(folder) as redis:
        api = Service(world, disk / "log", workers=2, log_level="debug", redis_url=redis.url,
                      redis_retry_s=0.5)  # fmt: skip
        try:
            api.start()
            with loading(api.port, Oracle(world)) as load:
                for _ in range(count):
                    ballast = fill(disk)
                    load.answer_more(100)
                    redis.kill()  # what has to be logged, and cannot be
                    load.answer_more()
                    assert api.post("/v1/nodes/predict", nodes=["x"]).status == 422
                    redis.start()
                    ballast.unlink()
                    load.answer_more()
                load.end()
                assert len(api.workers()) == 2
                return done.count(load)
        finally:
            api.kill()


def metrics_disk_full(world: World, folder: Path, count: int) -> Outcome:
    """F6: no room for the files that workers share their metrics through."""
    done = Outcome("F6", "disk of the temporary files full (metrics of workers)",
                   not_run=_no_root())  # fmt: skip
    if done.not_run:
        return done
    with small_disk(folder / "disk") as disk:
        here = {"TMPDIR": str(disk)}
        with (
            service(world, folder, environment=here) as api,
            loading(api.port, Oracle(world)) as load,
        ):
            for _ in range(count):
                before = {p.pid for p in api.workers()}
                ballast = fill(disk)
                load.answer_more(50)
                for number in range(30):  # new labels want new room
                    api.get(f"/v1/nowhere/{number}")
                    api.post("/v1/links/predict", pairs=[[1, 2]])
                load.answer_more(50)
                assert {p.pid for p in api.workers()} == before, "a worker died"
                ballast.unlink()
            load.end()
            return done.count(load)


FIU = ("fiu-run", "-x", "-c")
WRITES = "enable_random name=posix/io/rw/{call},probability={share}"


def failing_disk(world: World, folder: Path, count: int) -> Outcome:
    """F7: writes that fail at random; a command says so and leaves nothing, or it succeeds."""
    did = f"`fiu-run`: writes fail at random in `gnn embed` and `gnn worker`, {count} runs each"
    done = Outcome("F7", did)
    if shutil.which("fiu-run") is None:
        done.not_run = "fiu-run is not installed (Debian: fiu-utils)"
        return done
    shares = (0.002, 0.01, 0.05, 0.3, 1.0)
    whole = _embed(world, folder / "whole", ())
    assert whole == 0
    expected = (folder / "whole" / ROWS).read_bytes()
    failures = 0
    for turn in range(count):
        out = folder / f"rows{turn}"
        code = _embed(world, out, _fiu(shares[turn % len(shares)]))
        failures += code != 0
        assert code or out.exists(), "exit code 0 and no output"
        if out.exists():  # after a failure too: that of a line to the terminal, say
            done.wrong += EmbeddingTable.open(out).path.joinpath(ROWS).read_bytes() != expected
    done.lost = _jobs_on_a_failing_disk(world, folder, count, shares)
    done.note = (
        f"{failures} runs ended with an error; every output that is there is whole and right"
    )
    return done


def _fiu(share: float) -> tuple[str, ...]:
    return (*FIU, WRITES.format(call="write", share=share),
            "-c", WRITES.format(call="pwrite", share=share))  # fmt: skip


def _embed(world: World, out: Path, command: tuple[str, ...]) -> int:
    words = ["embed", world.graph, world.models / "default", "--out", out]
    done = subprocess.run(
        [*command, sys.executable, "-m", "service.cli", *map(str, words)],
        env=plain_environment(), cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode >= 0, f"died of signal {-done.returncode}"
    return done.returncode


def _jobs_on_a_failing_disk(
    world: World, folder: Path, count: int, shares: tuple[float, ...]
) -> int:
    """Jobs that ended neither failed with a reason nor with the right bytes."""
    lost = 0
    given = {"jobs": folder / "jobs", "job_lease_s": 1.0, "job_max_attempts": 100}
    with redis_server(folder) as redis:
        given["redis_url"] = redis.url
        with service(world, folder, **given) as api:
            whole = finish(api, folder, given, api.post("/v1/jobs", kind="embed").json()["id"])
            for turn in range(count):
                job = api.post("/v1/jobs", kind="embed").json()["id"]
                command = _fiu(shares[turn % len(shares)])
                log = folder / "failing.log"
                with (
                    worker(world, "--until-idle", log=log, command=command, **given) as process,
                    suppress(subprocess.TimeoutExpired),
                ):
                    process.wait(60)
                state = _state(api, job)
                if state is None:
                    state = "done"
                if state == "done":
                    lost += finish(api, folder, given, job) != whole
                else:
                    code = api.get(f"/v1/jobs/{job}").json()["error"]["code"]
                    lost += state != "failed" or not code
    return lost
