"""The cache in Redis: what it refuses to believe, and how little a broken Redis costs."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inprocess import in_process
from redisserver import RedisServer, redis_server
from world import World, add_model, make_world

from sampling.errors import InputError
from service.plan import Query
from service.predictor import Predictor, open_predictor
from service.recall import keep, recall
from service.rowformat import pack, unpack
from service.shared import RedisCache

ROW = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def redis(tmp_path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


async def raw(cache: RedisCache, *words: object) -> object:
    return await cache._client.execute_command(*words)


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(1, 255))
def test_a_changed_entry_is_no_row(key: bytes, place: int, flip: int):
    entry = bytearray(pack(key, np.linspace(0, 1, 8, dtype=np.float32)))
    entry[place % len(entry)] ^= flip
    assert unpack(key, bytes(entry)) is None


@given(st.binary(max_size=200))
def test_bytes_of_anyone_are_no_row(entry: bytes):
    assert unpack(b"key", entry) is None


def test_a_cut_or_longer_or_renamed_entry_is_no_row():
    entry = pack(b"key", ROW[0])
    assert unpack(b"key", entry).tolist() == [0, 1, 2]
    for wrong in (entry[:-1], entry[:-4], entry + b"\0\0\0\0", entry[:5], b""):
        assert unpack(b"key", wrong) is None
    assert unpack(b"kez", entry) is None


def test_foreign_entries_are_rejected_and_counted(redis: RedisServer):
    counted: Counter[str] = Counter()

    async def main() -> None:
        cache = RedisCache(redis.url, timeout_s=5, count=lambda o, n: counted.update({o: n}))
        await cache.put_many("s", [1, 2], ROW)
        own, other = b"gnn:e1:s:1", b"gnn:e1:s:2"
        assert sorted(await raw(cache, "KEYS", "*")) == [own, other]
        for entry in (b"", b"junk", await raw(cache, "GET", other), b"\xff" * 36):
            await raw(cache, "SET", own, entry)
            assert (await cache.get_many("s", [1])) == [None]
        await raw(cache, "DEL", own)
        await raw(cache, "LPUSH", own, "x")
        assert (await cache.get_many("s", [1, 2]))[0] is None
        assert 0 < await raw(cache, "TTL", other) <= 86_400
        await cache.aclose()

    asyncio.run(main())
    assert counted == Counter({"stored": 2, "rejected": 4, "miss": 1, "hit": 1})


def test_deployments_do_not_see_each_other(redis: RedisServer):
    async def main() -> None:
        one = RedisCache(redis.url, prefix="one")
        two = RedisCache(redis.url, prefix="two")
        await one.put_many("s", [1, 2], ROW)
        assert await two.get_many("s", [1, 2]) == [None, None]
        await asyncio.gather(one.aclose(), two.aclose())

    asyncio.run(main())


async def timed(cache: RedisCache, times: int = 1) -> float:
    started = time.monotonic()
    for _ in range(times):
        await cache.get_many("s", [1])
    return time.monotonic() - started


def test_a_redis_that_is_not_there_costs_once_and_is_found_when_it_comes(tmp_path):
    server = RedisServer(tmp_path)

    async def main() -> None:
        cache = RedisCache(server.url, retry_s=0.05)
        assert await timed(cache, 200) < 0.5
        assert cache.state == "degraded"
        server.start()
        await until(lambda: cache.state == "ok")
        await cache.put_many("s", [1, 2], ROW)
        assert (await cache.get_many("s", [2]))[0].tolist() == [3, 4, 5]
        await cache.aclose()

    with redis_server(tmp_path):  # there is a redis-server on this machine
        try:
            asyncio.run(main())
        finally:
            server.kill()


async def until(condition, timeout_s: float = 5) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_stopped_redis_costs_one_timeout_and_is_found_when_it_goes_on(redis: RedisServer):
    async def main() -> None:
        cache = RedisCache(redis.url, retry_s=0.05)
        await cache.put_many("s", [1, 2], ROW)
        redis.signal(signal.SIGSTOP)
        assert 0.2 < await timed(cache) < 0.5
        assert await timed(cache, 100) < 0.1
        redis.signal(signal.SIGCONT)
        await until(lambda: cache.state == "ok")
        assert (await cache.get_many("s", [1]))[0].tolist() == [0, 1, 2]
        await cache.aclose()

    asyncio.run(main())


def test_answers_that_are_slow_three_times_open_the_breaker(redis: RedisServer):
    async def main() -> None:
        proxy = await asyncio.start_server(delaying(redis.port, 0.15), "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        cache = RedisCache(f"redis://127.0.0.1:{port}/0?protocol=2", timeout_s=1, retry_s=30)
        cache._breaker.slow_s = 0.1
        for _ in range(5):
            await cache.get_many("s", [1])
            if cache.state == "degraded":
                break
        assert cache.state == "degraded"
        assert await timed(cache, 100) < 0.1
        await cache.aclose()
        proxy.close()

    asyncio.run(main())


def delaying(port: int, seconds: float):
    """Connections to Redis whose answers come late."""

    async def pump(reader, writer, delay: float) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(delay)
            writer.write(data)
        writer.close()

    async def serve(reader, writer) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, far_writer, 0), pump(far_reader, writer, seconds))

    return serve


def test_a_full_redis_refuses_rows_and_still_gives_those_it_has(redis: RedisServer):
    async def main() -> None:
        cache = RedisCache(redis.url, timeout_s=5)
        await cache.put_many("s", [1, 2], ROW)
        redis.command("CONFIG", "SET", "maxmemory", "1")
        await cache.put_many("s", [3, 4], ROW)
        assert cache.state == "degraded"
        got = await cache.get_many("s", [1, 3])
        assert got[0].tolist() == [0, 1, 2]
        assert got[1] is None
        redis.command("CONFIG", "SET", "maxmemory", "0")
        await cache.put_many("s", [3, 4], ROW)
        assert cache.state == "ok"
        await cache.aclose()

    asyncio.run(main())


def test_what_is_kept_in_the_background_arrives(redis: RedisServer):
    async def main() -> None:
        cache = RedisCache(redis.url, timeout_s=5)
        cache.keep("s", [1, 2], ROW)
        await cache.settle()
        assert (await cache.get_many("s", [1]))[0].tolist() == [0, 1, 2]
        await cache.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("url", ["", "127.0.0.1:6379", "http://x", "redis://h:port/0"])
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str):
    with pytest.raises(InputError, match="write redis://"):
        RedisCache(url)


def test_a_wrong_password_is_a_lost_redis(redis: RedisServer):
    redis.command("CONFIG", "SET", "requirepass", "secret")

    async def main() -> None:
        cache = RedisCache(redis.url.replace("//", "//:wrong@"))
        assert await cache.get_many("s", [1]) == [None]
        assert cache.state == "degraded"
        right = RedisCache(redis.url.replace("//", "//:secret@"), timeout_s=5)
        await right.put_many("s", [1, 2], ROW)
        assert (await right.get_many("s", [1]))[0] is not None
        await asyncio.gather(cache.aclose(), right.aclose())

    asyncio.run(main())


def opened(world: World) -> Predictor:
    return open_predictor(world.graph, world.models, None, world.settings())


async def sources_of(predictor: Predictor, cache: RedisCache, query: Query) -> list[int]:
    """What answers for every node, and the finished rows against a plain prediction."""
    plan = predictor.plan(query, predictor.registry.get(query.model, query.version))
    await recall(plan, predictor, cache)
    sources = plan.source.tolist()
    for work in plan.work:
        computed = predictor.compute(work.key, work.nodes)
        plan.finish(work, computed)
        keep(work, computed, predictor, cache)
    await cache.settle()
    other = open_predictor(predictor.settings.graph, predictor.settings.models, None,
                           predictor.settings)  # fmt: skip
    wanted = other.predict(query.nodes, mode=query.mode, seed=query.seed, include=["embedding"])
    rows = [entry["embedding"] for entry in wanted.predictions]
    assert np.abs(plan.rows - np.array(rows)).max() < 1e-5
    return sources


def test_rows_are_found_by_another_process_for_the_same_question_only(
    world: World, redis: RedisServer, tmp_path
):
    async def main() -> None:
        cache = RedisCache(redis.url, timeout_s=5)
        exact, drawn = Query([105, 100, 105], mode="exact"), Query([105], mode="sampled")
        assert await sources_of(opened(world), cache, exact) == [0, 0, 0]
        assert await sources_of(opened(world), cache, exact) == [2, 2, 2]
        more = Query([106, 105, 107, 100, 106], mode="exact")
        assert await sources_of(opened(world), cache, more) == [0, 2, 0, 2, 0]
        assert await sources_of(opened(world), cache, drawn) == [0]
        assert await sources_of(opened(world), cache, drawn) == [2]
        seeded = Query([105], mode="sampled", seed=1)
        assert await sources_of(opened(world), cache, seeded) == [0]
        # the same names and versions, another graph; then another model
        other = make_world(tmp_path / "other", num_edges=8000)
        assert await sources_of(opened(other), cache, exact) == [0, 0, 0]
        add_model(other.models / "default", other.data, seed=9)
        assert await sources_of(opened(other), cache, exact) == [0, 0, 0]
        await cache.aclose()

    asyncio.run(main())


def test_a_server_starts_without_its_redis_and_says_so(world: World, tmp_path):
    lost = RedisServer(tmp_path).url
    with in_process(world.settings(redis_url=lost)) as client:
        answer = client.post("/v1/nodes/predict", json={"nodes": [105], "mode": "exact"})
        assert answer.json()["predictions"][0]["source"] == "computed"
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["redis"]) == (200, "degraded")
        text = client.get("/metrics").text
        assert "gnn_redis_degraded 1.0" in text
        assert 'gnn_redis_rows_total{outcome="skipped"} 2.0' in text
