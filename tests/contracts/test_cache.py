"""What every embedding cache promises, in memory and in Redis: a row as it was put, or none."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redisserver import RedisServer, redis_server

from service.cache import MemoryCache
from service.shared import RedisCache


class Driven:
    """A cache whose calls are waited for, where they have to be."""

    def __init__(self, cache: Any, run: Callable[[Any], Any]) -> None:
        self.cache, self.run = cache, run

    def get_many(self, space: str, nodes: list[int]) -> list[np.ndarray | None]:
        return self._wait(self.cache.get_many(space, nodes))

    def put_many(self, space: str, nodes: list[int], rows: np.ndarray) -> None:
        self._wait(self.cache.put_many(space, nodes, rows))

    def _wait(self, result: Any) -> Any:
        async def whole() -> Any:
            return await result

        return self.run(whole()) if inspect.isawaitable(result) else result


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> Iterator[Driven]:
    if request.param == "memory":
        yield Driven(MemoryCache(1 << 22), lambda result: result)
        return
    server: RedisServer = request.getfixturevalue("redis")
    server.command("FLUSHALL")
    with asyncio.Runner() as runner:
        cache = RedisCache(server.url, timeout_s=5)
        yield Driven(cache, runner.run)
        runner.run(cache.aclose())


def rows(*values: float, width: int = 3) -> np.ndarray:
    return np.array(values, np.float32)[:, None] * np.ones((1, width), np.float32)


def test_a_row_comes_back_as_it_was_put_in_any_order(cache: Driven):
    given_rows = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    cache.put_many("s", [4, 9, 2**40], given_rows)
    got = cache.get_many("s", [2**40, 5, 4, 4])
    assert got[1] is None
    for row, wanted in ((got[0], 2), (got[2], 0), (got[3], 0)):
        assert (row == given_rows[wanted]).all()
        assert row.dtype == np.float32
        assert not row.flags.writeable


def test_what_is_put_again_replaces_what_was_there(cache: Driven):
    cache.put_many("s", [1], rows(1))
    cache.put_many("s", [1], rows(2, width=4))
    assert cache.get_many("s", [1])[0].tolist() == [2, 2, 2, 2]


def test_spaces_and_nodes_never_meet(cache: Driven):
    spaces = ["s", "s:1", "s:1:", "", ":", "S"]
    for i, space in enumerate(spaces):
        cache.put_many(space, [1, 11], rows(i, i + 100))
    for i, space in enumerate(spaces):
        assert [row[0] for row in cache.get_many(space, [1, 11])] == [i, i + 100]


def test_nothing_is_asked_and_nothing_is_put(cache: Driven):
    cache.put_many("s", [], np.zeros((0, 3), np.float32))
    assert cache.get_many("s", []) == []


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, np.finfo(np.float32).max])
def test_bits_survive(cache: Driven, value: float):
    cache.put_many("s", [1], rows(value))
    assert cache.get_many("s", [1])[0].tobytes() == rows(value)[0].tobytes()


@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6), st.integers(1, 4)), max_size=12)
)
def test_every_row_is_the_last_that_was_put(cache: Driven, puts: list[tuple[str, int, int]]):
    last = {}
    for step, (space, node, width) in enumerate(puts):
        cache.put_many(space, [node], rows(step, width=width))
        last[space, node] = (step, width)
    for (space, node), (step, width) in last.items():
        assert cache.get_many(space, [node])[0].tolist() == [step] * width
