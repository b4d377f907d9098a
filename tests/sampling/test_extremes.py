"""The kernels at their edges: no memory left, after a fork, and beyond 2^24 and 2^31 of anything.

Arrays of many gigabytes are never touched but in a few places, so they cost no memory; where the
system does not hand out such addresses, the test says so and is skipped.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from sampling import Graph, NeighborSampler
from sampling.kernels import _core, reference

ROOT = Path(__file__).resolve().parents[2]


def run(script: str) -> str:
    """What a script prints in a process of its own, which must end well."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


STARVED = """
    import resource
    import numpy as np
    from sampling.kernels import _core

    f32, i32, i64 = np.float32, np.int32, np.int64
    none, table = np.zeros(0, i64), np.zeros((1, 1 << 20), f32)
    rows, offsets = np.zeros(1 << 12, i64), np.zeros((1 << 12) + 1, i64)
    degree, batch = 100_000, 2_000
    indptr = np.array([0, degree] + [degree] * (degree - 1), i64)
    hub = (indptr, np.arange(degree, dtype=i32))
    seeds = np.zeros(batch, i64)
    workspace = _core.Workspace()
    calls = {
        "build_csc": lambda n: _core.build_csc(none, none, 1 << 36, n),
        "csc_order": lambda n: _core.csc_order(none, none, 1 << 36, None, None, None, n),
        "transpose": lambda n: _core.transpose(offsets, none, 1 << 36, n),
        "gather": lambda n: _core.gather(table, rows, None, n),
        "aggregate": lambda n: _core.aggregate(offsets, none, table, None, None, None, "max", n),
        "max_backward": lambda n: _core.max_backward(
            np.zeros((1, 4), i64), none, np.zeros((1, 4), f32), 1 << 36, n),
        "sample_neighbors": lambda n: _core.sample_neighbors(*hub, seeds, -1, 0, 0, n),
        "sample_blocks": lambda n: _core.sample_blocks(workspace, *hub, seeds, [-1], 0, n, True),
    }
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
    for name, call in calls.items():
        for threads in (1, 4):
            try:
                call(threads)
                print(name, "found memory")
            except MemoryError:
                pass
    nodes, hops = _core.sample_blocks(workspace, *hub, seeds[:5], [4], 0, 2, True)
    assert len(hops[0][1]) == 20
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_a_kernel_without_memory_raises_and_works_again_after():
    assert run(STARVED) == ""


@pytest.mark.parametrize("size", [-1, -2, -(2**61), 2**60, 2**61, 2**62, 2**63 - 1])
def test_sizes_that_no_memory_can_have_are_refused(size):
    """Their bytes do not fit 64 bits, or they are negative; neither may wrap around."""
    none, offsets = np.zeros(0, np.int64), np.zeros(1, np.int64)
    arg, grad = np.zeros((1, 4), np.int64), np.zeros((1, 4), np.float32)
    for call in (
        lambda: _core.build_csc(none, none, size, 1),
        lambda: _core.csc_order(none, none, size, None, None, None, 1),
        lambda: _core.transpose(offsets, none, size, 1),
        lambda: _core.max_backward(arg, none, grad, size, 1),
    ):
        with pytest.raises((MemoryError, ValueError)):
            call()


def test_kernels_work_before_and_after_a_fork():
    printed = run("""
        import multiprocessing
        import numpy as np
        from sampling import Graph, NeighborSampler

        rng = np.random.default_rng(0)
        graph = Graph.from_edges(*rng.integers(0, 5000, (2, 100_000)), num_nodes=5000)
        sampler = NeighborSampler(graph, [5, 5], seed=1, num_threads=3)

        def edges(first):
            blocks = sampler.sample(np.arange(first, first + 2000))
            return [block.indices.sum().item() for block in blocks]

        before = [edges(i) for i in range(4)]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(edges, range(4)) == before
        assert [edges(i) for i in range(4)] == before
        print("equal")
    """)
    assert printed == "equal\n"


def assert_equals_twin(call_of) -> None:
    """A call of the compiled kernels gives what it gives of their twins."""
    ours, twin = call_of(_core), call_of(reference)
    for array, expected in zip(ours, twin, strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("fanout", [5, 70])
@pytest.mark.parametrize("degree", [2**24 - 1, 2**24, 2**24 + 5])
def test_degrees_around_2_to_the_24(degree, fanout):
    indptr = np.array([0, 3, 3 + degree, 5 + degree], np.int64)
    indices = np.zeros(5 + degree, np.int32)
    indices[[2, 3, -3, -1]] = [2, 1, 2, 1]
    nodes = np.array([1, 0, 2, 1])
    assert_equals_twin(lambda k: k.sample_neighbors(indptr, indices, nodes, fanout, 3, 0, 2))

    def batch(k):
        found, hops = k.sample_blocks(
            k.Workspace(), indptr, indices, nodes, [2, fanout], 3, 2, True
        )
        return [found, *(array for hop in hops for array in hop)]

    assert_equals_twin(batch)


def test_a_full_row_of_2_to_the_24_neighbors_is_taken_whole():
    degree = 2**24 + 5
    graph = Graph(np.array([0, degree], np.int64), np.zeros(degree, np.int32))
    [block] = NeighborSampler(graph, [-1]).sample([0])
    assert block.num_edges == degree
    assert block.num_src == 1


def lazy(shape: int, dtype: type) -> np.ndarray:
    """Zeros that take no memory until they are written."""
    try:
        return np.zeros(shape, dtype)
    except MemoryError:
        pytest.skip(f"no {shape * np.dtype(dtype).itemsize:,} bytes of addresses to be had here")


def test_more_than_2_to_the_31_edges():
    edges = 2**31 + 2**25
    indices = lazy(edges, np.int32)
    indices[-4:] = [1, 2, 0, 2]
    indptr = np.array([0, 2**31 - 2, edges - 4, edges], np.int64)
    for fanout in (2, 70):
        assert_equals_twin(
            lambda k, fanout=fanout: k.sample_neighbors(
                indptr, indices, np.array([2, 1, 0]), fanout, 5, 0, 2
            )
        )


def test_more_than_2_to_the_31_nodes():
    nodes = 2**31 + 10
    indptr = lazy(nodes + 1, np.int64)
    indptr[-3:] = [2, 4, 9]
    neighbors = [7, nodes - 1, nodes - 2, 0, *(nodes - np.arange(1, 6))]
    graph = Graph(indptr, np.array(neighbors, np.int64))
    seeds = [nodes - 1, 5, nodes - 2]
    first, second = NeighborSampler(graph, [-1, -1]).sample(seeds)
    assert second.dst_nodes.tolist() == seeds
    assert second.src_nodes[second.indices].tolist() == [*neighbors[4:], *neighbors[2:4]]
    assert first.in_degrees()[:3].tolist() == [5, 0, 2]

    def batch(k):
        arguments = (graph.indptr, graph.indices, np.array(seeds), [1, 2], 9, 2, True)
        found, hops = k.sample_blocks(k.Workspace(), *arguments)
        return [found, *(array for hop in hops for array in hop)]

    assert_equals_twin(batch)
