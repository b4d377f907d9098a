"""F3, F12: a Redis that is stopped, killed, full, closed to us, or behind a bad network."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faults.load import Load, loading
from faults.oracle import Oracle
from faults.outcome import Outcome, Target, times
from faults.processes import Service, service, wait_for, worker
from faults.proxy import MODES, proxying
from faults.worlds import World
from redisserver import RedisServer, redis_server

__all__ = [
    "JOURNALED",
    "REDIS_FAULTS",
    "bad_network",
    "freeze_redis",
    "lose_no_jobs",
    "redis_fault",
]

CACHE = {"redis_retry_s": 0.5, "cache_bytes": 0}
JOURNALED = ("--appendonly", "yes", "--appendfsync", "always")
BACK_S = 10.0
USUAL_S = 3.0
BREAKS_S = 5.0
"""No answer takes longer than this on a slow machine; `redis_timeout_ms` is 250."""

Fault = Callable[[RedisServer], Callable[[], object]]
"""Does harm, and returns what undoes it."""


def _kill_and_start_empty(redis: RedisServer) -> Callable[[], object]:
    redis.kill()
    return redis.start


def _fill(redis: RedisServer) -> Callable[[], object]:
    redis.command("CONFIG", "SET", "maxmemory", "1")
    redis.command("FLUSHALL")
    return lambda: (redis.command("CONFIG", "SET", "maxmemory", "0"), redis.command("FLUSHALL"))


def _pause(redis: RedisServer) -> Callable[[], object]:
    redis.command("CLIENT", "PAUSE", "4000", "ALL")
    return lambda: None


def _close_to_us(redis: RedisServer) -> Callable[[], object]:
    """Ask for a password from now on; this connection stays to take it back."""
    mine = socket.create_connection(("127.0.0.1", redis.port))
    for line in (b"CONFIG SET requirepass changed", b"AUTH changed", b"CLIENT KILL TYPE normal"):
        mine.sendall(line + b"\r\n")
        mine.recv(100)

    def undo() -> None:
        mine.sendall(b"CONFIG SET requirepass ''\r\n")
        mine.recv(100)
        mine.close()

    return undo


def _take_all_connections(redis: RedisServer) -> Callable[[], object]:
    """One connection may be open, and we hold it."""
    mine = socket.create_connection(("127.0.0.1", redis.port))
    mine.sendall(b"CONFIG SET maxclients 1\r\n")
    mine.recv(100)
    mine.sendall(b"CLIENT KILL TYPE normal SKIPME yes\r\n")
    mine.recv(100)

    def undo() -> None:
        mine.sendall(b"CONFIG SET maxclients 1000\r\n")
        mine.recv(100)
        mine.close()

    return undo


REDIS_FAULTS: dict[str, Fault] = {
    "`kill -9`, started again empty": _kill_and_start_empty,
    "full, `noeviction`": _fill,
    "`CLIENT PAUSE`": _pause,
    "password changed": _close_to_us,
    "connection limit reached": _take_all_connections,
}


def redis_fault(world: World, folder: Path, count: int, name: str) -> Outcome:
    """F3: no fault of Redis fails a prediction or makes one wrong."""
    done = Outcome("F3", f"Redis: {name}, {times(count)}", recovery_limit_s=BACK_S)
    with redis_server(folder) as redis:
        given = {"redis_url": redis.url, **CACHE}
        with service(world, folder, **given) as api, loading(api.port, Oracle(world)) as load:
            for _ in range(count):
                time.sleep(USUAL_S)
                undo = REDIS_FAULTS[name](redis)
                _degraded_and_back(api, load, undo, done)
            load.end()
            return done.count(load)


def freeze_redis(world: World, folder: Path, seconds: int) -> Outcome:
    """F3: a Redis that stands still for long, three times."""
    done = Outcome("F3", f"Redis: SIGSTOP for {seconds} s, 3 times", recovery_limit_s=BACK_S)
    with redis_server(folder) as redis:
        given = {"redis_url": redis.url, **CACHE}
        with service(world, folder, **given) as api, loading(api.port, Oracle(world)) as load:
            for _ in range(3):
                time.sleep(USUAL_S)
                redis.signal(signal.SIGSTOP)
                undo = partial(redis.signal, signal.SIGCONT)
                _degraded_and_back(api, load, undo, done, away_s=seconds)
            load.end()
            return done.count(load)


def _degraded_and_back(
    api: Service, load: Load, undo: Callable[[], object], done: Outcome, away_s: float = 0.0
) -> None:
    """Answers go on while Redis is away and after it is back; notes how long all took."""
    began = time.monotonic()
    wait_for(lambda: api.redis_is("degraded"))
    opened = time.monotonic()
    load.answer_more()
    time.sleep(max(0.0, opened + away_s - time.monotonic()))
    undo()
    back = time.monotonic()
    _note_added(done, load, began, opened, back)
    wait_for(lambda: api.redis_is("ok"))
    done.recovery_s = max(done.recovery_s, time.monotonic() - back)
    load.answer_more()
    slowest = load.slowest_s(began)
    assert slowest < BREAKS_S, f"an answer took {slowest:.1f} s"
    before = float(done.note.split()[-2]) if done.note else 0.0
    done.note = f"slowest answer {max(before, slowest):.1f} s"


def _note_added(done: Outcome, load: Load, began: float, opened: float, back: float) -> None:
    """By how much p99 was longer than before, until every worker knew and from then on."""
    usual = load.p99_ms(began - USUAL_S, began)
    added = [load.p99_ms(began, opened) - usual, load.p99_ms(opened, back) - usual]
    if done.targets:
        added = [max(now, known.got) for now, known in zip(added, done.targets, strict=True)]
    done.targets = [
        Target("added to p99 until the breakers opened", added[0], 300, "ms"),
        Target("added to p99 while they were open", added[1], 10, "ms"),
    ]


def bad_network(world: World, folder: Path, count: int, mode: str) -> Outcome:
    """F12: the network to Redis fails in one way."""
    done = Outcome("F12", f"network to Redis: {mode}, {times(count)}", recovery_limit_s=BACK_S)
    assert mode in MODES
    with redis_server(folder) as redis, proxying(redis.port) as network:
        given = {"redis_url": f"redis://127.0.0.1:{network.port}/0", **CACHE}
        with service(world, folder, **given) as api, loading(api.port, Oracle(world)) as load:
            for _ in range(count):
                time.sleep(USUAL_S)
                network.mode = mode
                _degraded_and_back(api, load, lambda: setattr(network, "mode", ""), done)
            load.end()
            return done.count(load)


def lose_no_jobs(world: World, folder: Path, count: int) -> Outcome:
    """F3: a Redis with its append-only file, killed while jobs wait and run, loses none."""
    did = f"Redis with `appendonly yes`: `kill -9` while jobs run, {times(count)}"
    done = Outcome("F3", did, recovery_limit_s=BACK_S)
    with redis_server(folder, *JOURNALED) as redis:
        given = {"redis_url": redis.url, "jobs": folder / "jobs", "job_lease_s": 2.0,
                 "job_max_attempts": 50, **CACHE}  # fmt: skip
        with (
            service(world, folder, **given) as api,
            worker(world, log=folder / "worker.log", **given),
            loading(api.port, Oracle(world)) as load,
        ):
            wait_for(lambda: "waiting for jobs" in (folder / "worker.log").read_text())
            sent = []
            for _ in range(count):
                sent += [api.post("/v1/jobs", kind="embed").json()["id"] for _ in range(4)]
                redis.kill()
                load.answer_more()
                began = time.monotonic()
                redis.start()
                wait_for(lambda: api.get("/v1/jobs").status == 200)
                done.recovery_s = max(done.recovery_s, time.monotonic() - began)
            digests = [wait_for(lambda job=job: _digest(api, job)) for job in sent]
            done.lost = sum(d != digests[0] or d == "failed" for d in digests)
            load.end()
            done.note = f"{len(sent)} jobs, all with equal results"
            return done.count(load)


def _digest(api: Service, job: str) -> str | None:
    """The digest of a job's result once it has ended; "failed" where it has none."""
    answer = api.get(f"/v1/jobs/{job}")
    if answer.status != 200 or answer.json()["state"] in ("queued", "running"):
        return None
    result = answer.json()["result"]
    return result["sha256"] if result else "failed"
