"""`gnn plan`: memory, time and disk that each step will need on this machine.

Times follow from what each step must move or multiply (stated in `_steps`) and from five rates
that are measured first: a stream through memory, rows gathered at random, a matrix product,
edges built into columns, and sampling itself on a few batches of this graph. They are estimates
of work in memory: a graph that is larger than memory also waits for its disk.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.commands.options import Debug, Fanouts, GraphPath, Json, Threads, parse_fanouts
from service.console import note, show

if TYPE_CHECKING:
    from sampling import Dataset

__all__ = ["plan"]

ConvName = Literal[
    "sage", "gcn", "gat", "gatv2", "gin", "gine", "pna", "rgcn", "hgt", "appnp", "sgc", "egnn",
    "transformer", "tgat", "lightgcn", "identity",
]  # fmt: skip
MATRICES = {
    "sage": 2, "gatv2": 2, "gin": 2, "gine": 2, "transformer": 4, "tgat": 5, "egnn": 6, "pna": 13,
}  # fmt: skip
PROBE_BYTES = 256 << 20
PROBE_BATCHES = 3
LINE_BYTES = 64
PROBE_EDGES = 1 << 22
RUNTIME_BYTES = 400 << 20  # the interpreter, torch and its buffers


@dataclass(frozen=True, slots=True)
class Rates:
    """What this machine does per second, on the threads that were asked for."""

    stream_bytes: float
    random_lines: float
    flops: float
    built_edges: float


@dataclass(frozen=True, slots=True)
class Batch:
    """A typical mini-batch of this graph: medians over a few that were really sampled."""

    seconds: float
    edges: int
    input_rows: int


@dataclass(frozen=True, slots=True)
class Step:
    """What one step needs."""

    seconds: float
    memory_bytes: int
    disk_bytes: int


def plan(
    graph: GraphPath,
    model: Annotated[ConvName, typer.Option(help="Convolution.")] = "sage",
    hidden: Annotated[int, typer.Option(min=1, help="Width of the hidden rows.")] = 256,
    layers: Annotated[int | None, typer.Option(min=1, help="Layers; one per fanout.")] = None,
    fanouts: Fanouts = "15,10",
    batch_size: Annotated[int, typer.Option(min=1, help="Seeds per batch.")] = 1024,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Memory, time and disk that each step needs on this machine, before it is run."""
    from sampling import GraphStore, kernels
    from sampling.errors import InputError

    draws = parse_fanouts(fanouts)
    if layers is not None and layers != len(draws):
        draws = draws[:layers] + draws[-1:] * (layers - len(draws))
    data = GraphStore.open(graph, verify=False)
    if not data.graph.num_nodes:
        raise InputError(f"{graph} has no nodes; there is nothing to plan")
    num_threads = threads or kernels.default_threads()
    note("measuring this machine for a few seconds")
    rates = _probe(num_threads)
    batch = _probe_batches(data, draws, batch_size, num_threads)
    matrices = _matrices(model, len(data.graph.edge_types))
    steps = _steps(data, rates, batch, [hidden] * len(draws), batch_size, matrices)
    show(_result(data, draws, rates, batch, steps), json)


def _matrices(conv: str, num_relations: int) -> int:
    """Weight matrices that a layer multiplies every row by, those of edges left out."""
    return num_relations + 1 if conv in ("rgcn", "hgt") else MATRICES.get(conv, 1)


def _result(
    data: Dataset, fanouts: list[int], rates: Rates, batch: Batch, steps: dict[str, Step]
) -> dict[str, Any]:
    import psutil

    return {
        "graph": {"num_nodes": data.meta.num_nodes, "num_edges": data.meta.num_edges},
        "machine": {
            "available_bytes": psutil.virtual_memory().available,
            "stream_gb_per_s": rates.stream_bytes / 1e9,
            "random_rows_per_s": rates.random_lines,
            "gflops": rates.flops / 1e9,
            "built_edges_per_s": rates.built_edges,
        },
        "batch": {
            "fanouts": fanouts,
            "edges": batch.edges,
            "input_rows": batch.input_rows,
            "sampling_seconds": batch.seconds,
        },
        "steps": {
            name: asdict(step) | {"fits": step.memory_bytes <= psutil.virtual_memory().available}
            for name, step in steps.items()
        },
    }


def _steps(
    data: Dataset, rates: Rates, batch: Batch, widths: list[int], batch_size: int, matrices: int
) -> dict[str, Step]:
    """Verify and serve read what is stored; training and embedding also compute.

    Ingest reads edges, translates them and builds rows of them, which together take about twice
    as long as building alone, and copies the rest; without a bound it holds all edges once.
    A batch gathers `input_rows` rows of d_in, sends `edges` rows and multiplies every row by
    `matrices` weight matrices, forward once and backward twice. Embedding reads one row per edge
    and layer, multiplies every node once per layer, and keeps the rows of two layers.
    """
    from sampling.graph.ingest.adjacency import EDGE_BYTES, NODE_BYTES
    from sampling.graph.runs import GROUP_EDGES, MERGE_BYTES

    n, m, d_in = data.meta.num_nodes, data.meta.num_edges, max(data.meta.feature_dim, 1)
    stored = data.graph.size_bytes + (data.features.nbytes if data.features else 0)
    stored += 0 if data.positions is None else data.positions.nbytes
    hidden = widths[-1]
    sizes = list(zip([d_in, *widths[:-1]], widths, strict=True))

    rows = batch.input_rows * _lines(d_in) + batch.edges * _lines(hidden)
    flops = 6.0 * matrices * (batch.input_rows * d_in * hidden + batch_size * hidden * hidden)
    one_batch = batch.seconds + 3 * rows / rates.random_lines + flops / rates.flops
    batches = -(-_training_nodes(data) // batch_size)
    batch_bytes = 4 * 4 * (batch.input_rows * (d_in + hidden) + batch.edges * 2)

    embed_s = sum(
        m * _lines(min(a, b)) / rates.random_lines + 2.0 * matrices * n * a * b / rates.flops
        for a, b in sizes
    )
    table_bytes = 4 * n * hidden
    copied = stored - data.graph.size_bytes
    ingest_s = 2 * m / rates.built_edges + 2 * copied / rates.stream_bytes
    features = data.graph.edge_features
    row_bytes = 0 if features is None else 4 * features.shape[1]
    edge_bytes = (EDGE_BYTES + row_bytes) * m + (MERGE_BYTES + row_bytes) * min(m, GROUP_EDGES)
    return {
        "ingest": Step(ingest_s, RUNTIME_BYTES + NODE_BYTES * n + edge_bytes, stored),
        "verify": Step(stored / rates.stream_bytes, RUNTIME_BYTES, 0),
        "train, one epoch": Step(one_batch * batches, RUNTIME_BYTES + stored + batch_bytes, 0),
        "embed": Step(
            embed_s, RUNTIME_BYTES + stored + 2 * table_bytes, table_bytes * (1 + (len(sizes) > 1))
        ),
        "serve": Step(0.0, RUNTIME_BYTES + stored + table_bytes, 0),
    }


def _lines(width: int) -> float:
    """Cache lines of one float32 row."""
    return max(1.0, 4 * width / LINE_BYTES)


def _training_nodes(data: Dataset) -> int:
    return len(data.nodes_in("train")) if data.splits is not None else data.meta.num_nodes


def _probe(num_threads: int) -> Rates:
    import numpy as np
    import torch

    from sampling import kernels

    torch.set_num_threads(num_threads)
    src, dst = np.random.default_rng(1).integers(0, PROBE_EDGES // 8, (2, PROBE_EDGES), np.int32)
    table = torch.ones(PROBE_BYTES // LINE_BYTES, LINE_BYTES // 4)
    rows = np.random.default_rng(0).integers(0, len(table), 1 << 20)
    matrix = torch.ones(1024, 1024)
    copy_s = _seconds(lambda: table.clone())
    gather_s = _seconds(lambda: kernels.gather(table.numpy(), rows, None, num_threads))
    product_s = _seconds(lambda: matrix @ matrix)
    build_s = _seconds(lambda: kernels.build_csc(src, dst, PROBE_EDGES // 8, num_threads))
    return Rates(
        2 * PROBE_BYTES / copy_s,
        len(rows) / gather_s,
        2 * 1024**3 / product_s,
        PROBE_EDGES / build_s,
    )


def _seconds(work: Any) -> float:
    """The best of three, after one to warm up."""
    work()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _probe_batches(data: Dataset, fanouts: list[int], batch_size: int, num_threads: int) -> Batch:
    import numpy as np

    from sampling import NeighborSampler

    nodes = data.nodes_in("train") if data.splits is not None else np.arange(data.meta.num_nodes)
    nodes = nodes if len(nodes) else np.arange(data.meta.num_nodes)
    sampler = NeighborSampler(data.graph, fanouts, 0, num_threads)
    random = np.random.default_rng(0)
    seen = []
    for _ in range(PROBE_BATCHES):
        seeds = random.choice(nodes, min(batch_size, len(nodes)), replace=False)
        started = time.perf_counter()
        blocks = sampler.sample(seeds)
        seconds = time.perf_counter() - started
        seen.append((seconds, sum(b.num_edges for b in blocks), blocks[0].num_src))
    seconds, edges, rows = (sorted(column)[len(column) // 2] for column in zip(*seen, strict=True))
    return Batch(seconds, int(edges), int(rows))
