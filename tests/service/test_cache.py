"""The embedding cache: what it holds, what it lets go, and in which order."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.cache import ENTRY_BYTES, MemoryCache, space_of

ONE = ENTRY_BYTES + 4


def row(value: float) -> np.ndarray:
    return np.full((1, 1), value, np.float32)


def held(cache: MemoryCache, nodes: range | list[int], space: str = "s") -> list[int]:
    """Nodes in the cache, looked up without marking them as visited."""
    return [node for node in nodes if (space, node) in cache._entries]


def test_a_row_comes_back_as_it_was_put_and_cannot_be_written():
    cache = MemoryCache(10_000)
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    cache.put_many("s", [4, 9], rows)
    rows[:] = 0
    got = cache.get_many("s", [9, 5, 4])
    assert got[1] is None
    assert got[0].tolist() == [3, 4, 5]
    assert got[2].tolist() == [0, 1, 2]
    assert not got[0].flags.writeable


def test_spaces_differ_in_model_graph_mode_and_seed():
    spaces = {
        space_of(model, graph, mode, seed)
        for model in ("m1", "m2")
        for graph in ("g1", "g2")
        for mode, seed in (("exact", None), ("sampled", 0), ("sampled", 1))
    }
    assert len(spaces) == 12
    cache = MemoryCache(100_000)
    for i, space in enumerate(sorted(spaces)):
        cache.put_many(space, [1], row(i))
    assert [cache.get_many(s, [1])[0].item() for s in sorted(spaces)] == list(range(12))


def test_sieve_keeps_what_was_visited_and_evicts_the_oldest_that_was_not():
    cache = MemoryCache(4 * ONE)
    for node in range(4):
        cache.put_many("s", [node], row(node))
    cache.get_many("s", [0, 2])
    cache.put_many("s", [4], row(4))
    assert held(cache, range(5)) == [0, 2, 3, 4]
    cache.put_many("s", [5], row(5))
    assert held(cache, range(6)) == [0, 2, 4, 5], "the hand went on from where it stopped"


def test_when_all_were_visited_the_hand_comes_round_to_the_oldest():
    cache = MemoryCache(3 * ONE)
    for node in range(3):
        cache.put_many("s", [node], row(node))
    cache.get_many("s", [0, 1, 2])
    cache.put_many("s", [3], row(3))
    assert held(cache, range(4)) == [1, 2, 3]


def test_a_cache_of_no_bytes_keeps_nothing():
    cache = MemoryCache(0)
    cache.put_many("s", [1], row(1))
    assert cache.get_many("s", [1]) == [None]
    assert cache.stats().entries == 0


def test_a_row_larger_than_the_cache_is_not_kept():
    cache = MemoryCache(ONE)
    cache.put_many("s", [1], np.ones((1, 100), np.float32))
    cache.put_many("s", [2], row(2))
    assert held(cache, [1, 2]) == [2]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.integers(1, 5)), max_size=80),
    st.integers(0, 6 * (ENTRY_BYTES + 20)),
)
def test_bytes_stay_bounded_and_every_hit_is_what_was_last_put(steps, limit):
    cache, last = MemoryCache(limit), {}
    for step, (puts, node, width) in enumerate(steps):
        if puts:
            cache.put_many("s", [node], np.full((1, width), step, np.float32))
            last[node] = (step, width)
        got = cache.get_many("s", [node])[0]
        assert got is None or (got[0], len(got)) == last[node]
        stats = cache.stats()
        sizes = [e.row.nbytes + ENTRY_BYTES for e in cache._entries.values()]
        assert stats.size_bytes == sum(sizes) <= limit
        assert stats.entries == len(chain(cache)) == len(sizes)


def chain(cache: MemoryCache) -> list[object]:
    """Entries by their links, oldest first, checked in both directions."""
    entries, entry = [], cache._oldest
    while entry is not None:
        assert entry.older is (entries[-1] if entries else None)
        entries.append(entry)
        entry = entry.newer
    assert cache._newest is (entries[-1] if entries else None)
    return entries


def test_threads_can_share_it():
    cache, wrong = MemoryCache(50 * ONE), []

    def work(first: int) -> None:
        for i in range(2000):
            node = (first + i) % 100
            cache.put_many("s", [node], row(node))
            got = cache.get_many("s", [(node * 7) % 100])[0]
            if got is not None and got.item() != (node * 7) % 100:
                wrong.append(node)

    threads = [threading.Thread(target=work, args=(i * 13,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(chain(cache)) == cache.stats().entries <= 50
