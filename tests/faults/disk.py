"""F6, F7: a disk that is full, and one that fails at random."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
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

__all__ = [
    "data_disk_full",
    "disk_full",
    "failing_disk",
    "failing_disk_of_service",
    "log_disk_full",
    "metrics_disk_full",
    "redis_disk_full",
]

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
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
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


def data_disk_full(world: World, folder: Path, count: int) -> Outcome:
    """F6: no room beside graph and models; what would write there says so, answers go on."""
    done = Outcome("F6", f"disk of graph and models full, {times(count)}", not_run=_no_root())
    if done.not_run:
        return done
    with small_disk(folder / "disk") as disk:
        here = _copied(world, disk)
        alias = {"model": "default", "version": 1}
        with (
            service(here, folder, open_admin=True, jobs=folder / "jobs") as api,
            loading(api.port, Oracle(here)) as load,
        ):
            for _ in range(count):
                ballast = fill(disk)
                refused = api.put("/v1/aliases/live", **alias)
                assert refused.json()["code"] == "routing_unavailable", refused.body
                _embed_in_vain(here, disk)
                load.answer_more()
                ballast.unlink()
                began = time.monotonic()
                wait_for(lambda: api.put("/v1/aliases/live", **alias).status == 200)
                done.recovery_s = max(done.recovery_s, time.monotonic() - began)
                assert _embed(here, disk / "rows", ()).returncode == 0
                shutil.rmtree(disk / "rows")
                assert api.delete("/v1/aliases/live").status == 200
            load.end()
            done.note = "an alias is refused as `routing_unavailable`, `gnn embed` by name"
            return done.count(load)


def _copied(world: World, disk: Path) -> World:
    """The same world on another disk."""
    shutil.copytree(world.graph, disk / "graph")
    shutil.copytree(world.models, disk / "models")
    return replace(world, graph=disk / "graph", models=disk / "models")


def _embed_in_vain(world: World, disk: Path) -> None:
    """A command that finds no room names the place, and leaves nothing that looks finished."""
    run = _embed(world, disk / "rows", ())
    said = run.stderr.decode()
    assert run.returncode in (1, 2), run
    assert "Traceback" not in said, said
    assert str(disk) in said, said
    assert not (disk / "rows").exists()


def redis_disk_full(world: World, folder: Path, count: int) -> Outcome:
    """F6: no room for the append-only file of Redis, which then takes no writes: jobs are refused,
    those that were accepted are kept, and predictions go on.
    """
    did = f"disk of the append-only file of Redis full, {times(count)}"
    done = Outcome("F6", did, not_run=_no_root())
    if done.not_run:
        return done
    appends = ("--appendonly", "yes", "--appendfsync", "everysec")
    with small_disk(folder / "disk") as disk, redis_server(disk, *appends) as redis:
        given = {"redis_url": redis.url, "redis_retry_s": 0.5, "jobs": folder / "jobs"}
        with service(world, folder, **given) as api, loading(api.port, Oracle(world)) as load:
            for _ in range(count):
                kept = api.post("/v1/jobs", kind="embed").json()["id"]
                ballast = fill(disk)
                refused = wait_for(lambda: _refused_job(api))
                assert refused == "jobs_unavailable", refused
                load.answer_more()
                ballast.unlink()
                began = time.monotonic()
                wait_for(lambda: api.post("/v1/jobs", kind="embed").status == 202)
                done.recovery_s = max(done.recovery_s, time.monotonic() - began)
                redis.kill()
                redis.start()
                wait_for(lambda: api.get("/v1/jobs").status == 200)
                done.lost += finish(api, folder, given, kept) == "failed"
                load.answer_more()
            load.end()
            done.note = "jobs are refused as `jobs_unavailable`, those accepted before are done"
            return done.count(load)


def _refused_job(api: Service) -> str | None:
    """The code with which a job is refused, once it is."""
    said = api.post("/v1/jobs", kind="embed")
    return None if said.status == 202 else str(said.json()["code"])


FIU = ("fiu-run", "-x")
CALLS = {
    "write": ("posix/io/rw/write", "posix/io/rw/pwrite"),
    "fsync": ("posix/io/sync/fsync", "posix/io/sync/fdatasync"),
    "open": ("posix/io/oc/open",),
}
SHARES = (0.002, 0.01, 0.05, 0.3, 1.0)
STARTS_WITH_OPENS = 0.01
"""Python opens thousands of files before there is anything of ours to fail."""


def failing_disk(world: World, folder: Path, count: int) -> Outcome:
    """F7: calls that fail at random; a command says so and leaves nothing, or it succeeds."""
    did = "`fiu-run`: write, fsync and open fail at random (ENOSPC, EIO) in `gnn embed` and "
    did += f"`gnn worker`, {count} runs each"
    done = Outcome("F7", did, not_run=_no_fiu())
    if done.not_run:
        return done
    assert _embed(world, folder / "whole", ()).returncode == 0
    expected = (folder / "whole" / ROWS).read_bytes()
    failures = 0
    for turn in range(count):
        out = folder / f"rows{turn}"
        code = _embed(world, out, _fiu(turn)).returncode
        failures += code != 0
        assert code or out.exists(), "exit code 0 and no output"
        if out.exists():  # after a failure too: that of a line to the terminal, say
            done.wrong += EmbeddingTable.open(out).path.joinpath(ROWS).read_bytes() != expected
    done.lost = _jobs_on_a_failing_disk(world, folder, count)
    done.note = (
        f"{failures} runs ended with an error; every output that is there is whole and right"
    )
    return done


def _no_fiu() -> str:
    return "" if shutil.which("fiu-run") else "fiu-run is not installed (Debian: fiu-utils)"


def _fiu(turn: int) -> tuple[str, ...]:
    """`fiu-run` with another call, error and share every turn."""
    calls, share = list(CALLS)[turn % len(CALLS)], SHARES[turn % len(SHARES)]
    if calls == "open":
        share *= STARTS_WITH_OPENS
    number = errno.ENOSPC if calls == "write" and turn % 2 else errno.EIO
    words = [word for call in CALLS[calls] for word in ("-c", _enabled(call, share, number))]
    return (*FIU, *words)


def _enabled(call: str, share: float, number: int) -> str:
    return f"enable_random name={call},probability={share},failinfo={number}"


def failing_disk_of_service(world: World, folder: Path, count: int) -> Outcome:
    """F7: calls fail at random in all processes of a service that runs; it stays up.

    Connections and wake-ups of the event loop are written by `write` too, so that is left alone.
    """
    did = f"`fiu-run`: pwrite, fsync and open fail at random (EIO) in the service, {times(count)}"
    done = Outcome("F7", did, not_run=_no_fiu())
    if done.not_run:
        return done
    control, accepted, refused = str(folder / "control"), 0, 0
    given = {"command": (*FIU, "-f", control), "jobs": folder / "jobs", "job_max_attempts": 100}
    with service(world, folder, **given) as api, loading(api.port, Oracle(world)) as load:
        before = {process.pid for process in api.workers()}
        for turn in range(count):
            call = ("posix/io/rw/pwrite", *CALLS["fsync"], *CALLS["open"])[turn % 4]
            share = SHARES[turn % len(SHARES)]
            _tell(api, control, _enabled(call, share, errno.EIO))
            for _ in range(3):
                said = api.post("/v1/jobs", kind="embed", nodes=[105, 106])
                assert said.status in (202, 503, 507), said.body
                accepted, refused = accepted + (said.status == 202), refused + (said.status != 202)
            load.answer_more()
            began = time.monotonic()
            healed = partial(_healed, api, control, call)
            job = wait_for(lambda healed=healed: healed("/v1/jobs"))
            assert wait_for(lambda healed=healed, job=job: healed(job), seconds=300.0) == "done"
            done.recovery_s = max(done.recovery_s, time.monotonic() - began)
        assert {process.pid for process in api.workers()} == before, "a worker died"
        load.end()
    done.note = f"{accepted} jobs accepted, {refused} refused by name; no worker died"
    return done.count(load)


def _healed(api: Service, control: str, call: str, job: str) -> str | None:
    """Send a job, or ask how one ended, once nothing fails any more; said anew every time, since
    a runner that was forked while calls failed begins with that.
    """
    _tell(api, control, f"disable name={call}")
    if not job.startswith("/"):
        return _state(api, job)
    said = api.post(job, kind="embed", nodes=[105, 106])
    return str(said.json()["id"]) if said.status == 202 else None


def _tell(api: Service, control: str, command: str) -> None:
    """Say this to libfiu in every process of a service that has it."""
    for process in api.family():
        pipe = Path(f"{control}-{process.pid}.in")
        if pipe.exists():
            words = ["fiu-ctrl", "-f", control, "-c", command, str(process.pid)]
            with suppress(subprocess.TimeoutExpired):  # it has just ended
                subprocess.run(words, capture_output=True, check=False, timeout=5)


def _embed(world: World, out: Path, command: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
    words = ["embed", world.graph, world.models / "default", "--out", out]
    done = subprocess.run(
        [*command, sys.executable, "-m", "service.cli", *map(str, words)],
        env=plain_environment(), cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode >= 0, f"died of signal {-done.returncode}"
    return done


def _jobs_on_a_failing_disk(world: World, folder: Path, count: int) -> int:
    """Jobs that ended neither failed with a reason nor with the right bytes."""
    lost = 0
    given = {"jobs": folder / "jobs", "job_lease_s": 1.0, "job_max_attempts": 100}
    with redis_server(folder) as redis:
        given["redis_url"] = redis.url
        with service(world, folder, **given) as api:
            whole = finish(api, folder, given, api.post("/v1/jobs", kind="embed").json()["id"])
            for turn in range(count):
                job = api.post("/v1/jobs", kind="embed").json()["id"]
                command = _fiu(turn)
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
