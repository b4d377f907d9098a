"""F1, F2, F4, F9: processes that die, and processes that are asked to leave."""

from __future__ import annotations

import hashlib
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from faults.client import NoAnswerError
from faults.load import CLIENTS, Load, loading, normal_rate
from faults.oracle import Oracle
from faults.outcome import Outcome, Target, times
from faults.processes import Service, service, wait_for, worker
from faults.worlds import World
from redisserver import redis_server

__all__ = ["kill_a_worker", "kill_the_runner", "kill_the_service", "leave", "roll", "run_job"]

ANSWERS_A_RESTART = 2000


def kill_a_worker(world: World, folder: Path, count: int) -> Outcome:
    """F1: only what that worker held fails, and another takes its place."""
    done = Outcome("F1", f"`kill -9` of one API worker of two, {times(count)}",
                   allowed={"cut": CLIENTS * count}, recovery_limit_s=5.0)  # fmt: skip
    with service(world, folder) as api, loading(api.port, Oracle(world)) as load:
        for _ in range(count):
            ready, began = api.said("ready"), time.monotonic()
            random.choice(api.workers()).kill()
            wait_for(lambda ready=ready: api.said("ready") > ready)
            done.recovery_s = max(done.recovery_s, time.monotonic() - began)
            load.answer_more()
        load.end()
        done.note = f"slowest answer {load.slowest_s(0.0):.1f} s"
        return done.count(load)


def kill_the_service(world: World, folder: Path, count: int, publishes: int = 0) -> Outcome:
    """F2: everything dies at once; what is there after a restart is whole.

    Args:
        world: what is served.
        folder: for logs and jobs.
        count: kills.
        publishes: how many of them come while a job publishes a table.
    """
    publishes = min(publishes, count)
    did = (
        f"`kill -9` of the whole service at once, {times(count)}, {publishes} of them in a publish"
    )
    done = Outcome("F2", did, allowed={"cut": 2 * CLIENTS * count, "refused": 10**9},
                   recovery_limit_s=10.0)  # fmt: skip
    # twice: a client that connects again meets the other worker while that dies
    given: dict[str, Any] = {"jobs": folder / "jobs", "job_lease_s": 1.0, "job_max_attempts": 10}
    oracle, sent = Oracle(world, "tables"), []
    with service(world, folder, **given) as api:
        load = Load(api.port, oracle, normal_rate(api.port, oracle))
        load.start()
        try:
            for turn in range(count):
                load.answer_more()
                if turn < publishes:
                    sent.append(_publish_and_wait_a_little(api))
                began = time.monotonic()
                api.kill()
                api.start()
                done.recovery_s = max(done.recovery_s, time.monotonic() - began)
            load.answer_more()
            for job in sent:
                state = wait_for(lambda job=job: _ended(api, job))
                done.lost += state != "done"
            if sent:
                wait_for(lambda: load.from_tables)
        finally:
            load.end()
        unusable = api.said("table_unusable")
    done.wrong += unusable
    done.note = (
        f"{len(sent)} publishing jobs all finished, tables unusable: {unusable}, "
        f"{load.from_tables} answers that only a table can give"
    )
    return done.count(load)


def _publish_and_wait_a_little(api: Service) -> str:
    """Start a publishing job, and return at some moment of its short life."""
    job: str = api.post("/v1/jobs", kind="embed", publish=True).json()["id"]
    wait_for(lambda: _state(api, job) != "queued")
    time.sleep(random.random() * 0.6)
    return job


def _state(api: Service, job: str) -> str:
    return str(api.get(f"/v1/jobs/{job}").json()["state"])


def _ended(api: Service, job: str) -> str | None:
    state = _state(api, job)
    return None if state in ("queued", "running") else state


JOBS: dict[str, Any] = {"job_tile_rows": 4, "job_lease_s": 1.0, "job_max_attempts": 100}


def kill_the_runner(world: World, folder: Path, count: int) -> Outcome:
    """F4: a job whose runner dies again and again ends in the bytes of one that was left alone."""
    did = f"`kill -9` of `gnn worker` at {count} random moments of jobs"
    done = Outcome("F4", did, recovery_limit_s=30.0)
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        given = {"redis_url": redis.url, "jobs": folder / "jobs", **JOBS}
        api = stack.enter_context(service(world, folder, **given))
        whole, took = run_job(api, folder, given)
        load, killed = stack.enter_context(loading(api.port, Oracle(world))), 0
        tiles = _Tiles(folder)
        while killed < count:
            job = api.post("/v1/jobs", kind="embed").json()["id"]
            tiles.forget()
            while killed < count and _state(api, job) not in ("done", "failed"):
                killed += _kill_one(api, folder, given, took, tiles)
            began = time.monotonic()
            digest = finish(api, folder, given, job, tiles.counted())
            done.recovery_s = max(done.recovery_s, time.monotonic() - began)
            done.lost += digest != whole
            tiles.count()
        load.end()
    done.count(load)
    assert tiles.written, "the hook has counted no tile"
    done.note = f"{tiles.written:,} tiles written, {tiles.repeated} of them again"
    done.targets = [Target("tiles repeated by one run", tiles.most_repeated, 1)]
    return done


class _Tiles:
    """What runners wrote of one job, tile by tile, and how much of that a run before had written.

    A tile is counted when it is computed; one that a kill met before that is not seen.
    """

    def __init__(self, folder: Path) -> None:
        self.log, self.written, self.repeated, self.most_repeated = folder / "tiles", 0, 0, 0
        self._known: set[str] = set()

    def forget(self) -> None:
        """Begin another job."""
        self.count()
        self._known = set()

    def counted(self) -> dict[str, Any]:
        """How a runner is started whose tiles are counted."""
        self.count()
        return {"module": "faults.hooked", "environment": {"GNN_TEST_TILES": str(self.log)}}

    def count(self) -> None:
        """Take over what the last runner wrote."""
        now = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        again = sum(tile in self._known for tile in now)
        self.written, self.repeated = self.written + len(now), self.repeated + again
        self.most_repeated = max(self.most_repeated, again)
        self._known |= set(now)


def _kill_one(
    api: Service, folder: Path, given: dict[str, Any], took: float, tiles: _Tiles
) -> bool:
    """Let a runner begin, and kill it somewhere in the time that the whole job takes."""
    log = folder / "worker.log"
    begun = _said(log, "job_started")
    with worker(api.world, log=log, **tiles.counted(), **given) as process:
        wait_for(lambda: _said(log, "job_started") > begun or process.poll() is not None)
        time.sleep(random.random() * took)
        process.kill()
    return True


def run_job(api: Service, folder: Path, given: dict[str, Any]) -> tuple[str, float]:
    """The digest of an undisturbed job, and the seconds from its first step to its last."""
    job = api.post("/v1/jobs", kind="embed").json()["id"]
    digest = finish(api, folder, given, job)
    row = api.get(f"/v1/jobs/{job}").json()
    return digest, _seconds(row["finished"]) - _seconds(row["started"])


def finish(
    api: Service,
    folder: Path,
    given: dict[str, Any],
    job: str,
    started: dict[str, Any] | None = None,
) -> str:
    """Run what waits until the job has ended; the SHA-256 of its result's bytes."""
    with worker(api.world, log=folder / "worker.log", **(started or {}), **given):
        state = wait_for(lambda: _ended(api, job))
    if state != "done":
        return str(state)
    parts = api.get(f"/v1/jobs/{job}").json()["result"]["parts"]
    whole = hashlib.sha256()
    for part in parts:
        whole.update(api.get(f"/v1/jobs/{job}/result?part={part['part']}").body)
    return whole.hexdigest()


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _said(log: Path, event: str) -> int:
    return log.read_text().count(f'"event":"{event}"') if log.exists() else 0


def leave(world: World, folder: Path, count: int) -> Outcome:
    """F9: SIGTERM under load; clients that heed `/health/ready` lose nothing."""
    did = f"SIGTERM under load, {times(count)}, to clients that heed `/health/ready`"
    done = Outcome("F9", did, recovery_limit_s=30.0)
    oracle, given = Oracle(world), {"drain_delay_s": 1.0}
    with service(world, folder, **given) as api:
        rate = normal_rate(api.port, oracle)
        for _ in range(count):
            with _heeding(api, oracle, rate) as load:
                load.answer_more(30)
                began = time.monotonic()
                code = api.terminate()
                done.recovery_s = max(done.recovery_s, time.monotonic() - began)
                done.failed["exit code"] += code != 0
            done.count(load)
            api.start()
    done.note = "the time is from the signal to the exit"
    done.failed = +done.failed
    return done


@contextmanager
def _heeding(api: Service, oracle: Oracle, rate: float) -> Iterator[Load]:
    """Load that asks only while the service says that it is ready, as behind a load balancer."""
    draining = []

    def may_send() -> bool:
        try:
            if not draining and api.get("/health/ready").status != 200:
                draining.append(True)
        except NoAnswerError:
            draining.append(True)
        return not draining

    load = Load(api.port, oracle, rate, may_send)
    load.start()
    try:
        yield load
    finally:
        load.end()


def roll(world: World, folder: Path, count: int) -> Outcome:
    """F9: workers are replaced one after the other by SIGHUP; the port is never closed.

    Args:
        world: what is served.
        folder: for logs.
        count: restarts.
    """
    done = Outcome("F9", f"rolling restart (SIGHUP) under load, {times(count)}")
    with service(world, folder) as api, loading(api.port, Oracle(world)) as load:
        for _ in range(count):
            before, began = {p.pid for p in api.workers()}, time.monotonic()
            api.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
            wait_for(lambda before=before: _replaced(api, before))
            done.recovery_s = max(done.recovery_s, time.monotonic() - began)
            load.answer_more(ANSWERS_A_RESTART, within_s=300.0)
        load.end()
    done.count(load)
    wanted = count * ANSWERS_A_RESTART
    done.targets = [Target("answers", done.answers, wanted, at_least=True),
                    Target("failed", done.failed.total(), 0)]  # fmt: skip
    return done


def _replaced(api: Service, before: set[int]) -> bool:
    try:
        now = {p.pid for p in api.workers()}
    except psutil.Error:
        return False
    return len(now) == 2 and not now & before
