"""Synthetic graphs of any size, streamed to files that `ingest` reads.

R-MAT (Chakrabarti, Zhan, Faloutsos, SDM 2004) with the parameters of Graph500: every edge falls
through the quadrants of the adjacency matrix with probabilities a, b, c, d, one level per bit of
a node number. The planted partition (a stochastic block model, Holland et al. 1983) draws edges
inside and between classes. All randomness is a hash of (seed, stream, counter), so a chunk
depends on nothing but its place, and equal arguments give equal bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sampling import kernels
from sampling.errors import InputError
from sampling.graph.arrays import ArrayWriter, publish
from sampling.graph.hashing import mix
from sampling.graph.readers.ahead import read_ahead
from sampling.kernels.reference.generate import scramble

__all__ = ["RmatConfig", "SbmConfig", "SynthReport", "synthesize"]

EDGE_CHUNK = 1 << 21
BLOCK = 1 << 16
FEATURE_CHUNK_BYTES = 16 << 20
MAX_NODES = 1 << 40
GRAPH500 = tuple(round(p * 65536) for p in np.cumsum((0.57, 0.19, 0.19)))
FEATURE_TYPES = ("float32", "float16")
SPLIT = np.array(["train", "val", "test"])
SPLIT_TENTHS = (6, 8)
LABELS, SPLITS, CENTERS, NOISE, ENDS = (i << 48 for i in range(3, 8))


class Config(Protocol):
    """What both models share; `pairs` draws edges, `labels` says classes."""

    @property
    def nodes(self) -> int: ...
    @property
    def num_edges(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def features(self) -> int: ...
    @property
    def feature_dtype(self) -> str: ...
    @property
    def classes(self) -> int: ...
    @property
    def noise(self) -> float: ...
    def check(self) -> None: ...
    def pairs(self, start: int, end: int) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def labels(self) -> NDArray[np.int32] | None: ...


@dataclass(frozen=True, slots=True)
class RmatConfig:
    """A directed R-MAT graph; repeated edges and self-loops stay, as in Graph500.

    Attributes:
        nodes: number of nodes, any number.
        edges: number of edges.
        seed: equal seeds, equal graphs.
        features: columns of features; 0 for none.
        feature_dtype: "float32" or "float16".
        classes: number of classes; 0 for none. A class is drawn for every node.
        noise: standard deviation of features around the center of their class.
    """

    nodes: int
    edges: int
    seed: int = 0
    features: int = 0
    feature_dtype: str = "float32"
    classes: int = 0
    noise: float = 2.0

    @property
    def num_edges(self) -> int:
        return self.edges

    def check(self) -> None:
        """Refuse what cannot be made."""
        _check(self, self.classes)

    def pairs(self, start: int, end: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Edges `start … end`; `start` is a multiple of 4."""
        return kernels.rmat_edges(
            start, end, self.nodes, self.seed, GRAPH500, kernels.default_threads()
        )

    def labels(self) -> NDArray[np.int32] | None:
        """The class of every node, or None."""
        if not self.classes:
            return None
        words = mix(np.arange(LABELS, LABELS + self.nodes, dtype=np.uint64), self.seed)
        return _bounded(words, self.classes).astype(np.int32)


@dataclass(frozen=True, slots=True)
class SbmConfig:
    """A planted partition: undirected edges, each written once, none from a node to itself.

    Density is given by `avg_degree` and `homophily` (the share of edges inside a class), or by
    the probabilities `p_in` and `p_out` of an edge inside and between classes. The number of
    edges is what is expected then; they are drawn with replacement.

    Attributes:
        nodes: number of nodes.
        classes: number of classes, of equal size (to one node).
        seed: equal seeds, equal graphs.
        avg_degree: edges at a node, on average.
        homophily: share of edges inside a class.
        p_in: probability of an edge between two nodes of a class.
        p_out: probability of an edge between two classes.
        features: columns of features; 0 for none.
        feature_dtype: "float32" or "float16".
        noise: standard deviation of features around the center of their class.
    """

    nodes: int
    classes: int = 2
    seed: int = 0
    avg_degree: float = 10.0
    homophily: float = 0.8
    p_in: float | None = None
    p_out: float | None = None
    features: int = 0
    feature_dtype: str = "float32"
    noise: float = 2.0

    @property
    def density(self) -> tuple[float, float]:
        """Average degree and share of edges inside a class."""
        if self.p_in is None and self.p_out is None:
            return self.avg_degree, self.homophily
        size = self.nodes / self.classes
        inside = (self.p_in or 0.0) * max(size - 1, 0)
        across = (self.p_out or 0.0) * (self.nodes - size)
        return inside + across, inside / max(inside + across, 1e-300)

    @property
    def num_edges(self) -> int:
        return round(self.nodes * self.density[0] / 2)

    def check(self) -> None:
        """Refuse what cannot be made."""
        _check(self, self.classes)
        if self.classes < 1 or self.nodes < 2 * self.classes:
            raise InputError(f"{self.nodes} nodes in {self.classes} classes is too few; give at "
                             "least one class and two nodes in each")  # fmt: skip
        degree, share = self.density
        if not (0 <= degree < self.nodes and 0 <= share <= 1):
            raise InputError(f"an average degree of {degree} with a share of {share} inside "
                             "classes cannot be; use 0 … nodes - 1 and 0 … 1")  # fmt: skip
        if self.classes == 1 and share < 1:
            raise InputError("one class has no edges to others; use homophily 1, or p_out 0")

    def pairs(self, start: int, end: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Edges `start … end`."""
        parts = [self._block(low, min(low + BLOCK, end)) for low in range(start, end, BLOCK)]
        src, dst = zip(*parts, strict=True) if parts else ((), ())
        none = np.empty(0, np.int64)
        return np.concatenate([none, *src]), np.concatenate([none, *dst])

    def _block(self, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        words = [
            mix(np.arange(ENDS + place, ENDS + place + end - start, dtype=np.uint64), self.seed)
            for place in (start + (i << 44) for i in range(3))
        ]
        k, n = np.int64(self.classes), np.int64(self.nodes)
        src = _bounded(words[0], self.nodes)
        inside = (words[1] >> np.uint64(11)).astype(np.float64) * 2.0**-53 < self.density[1]
        own = src % k
        shift = 1 + _bounded(words[1] * np.uint64(0x9E3779B97F4A7C15), max(self.classes - 1, 1))
        other = np.where(inside, own, (own + shift) % k)
        size = (n - 1 - other) // k + 1
        place = _bounded_each(words[2], size - inside)
        place += inside & (place >= src // k)
        bits = max(1, (self.nodes - 1).bit_length())
        return (
            scramble(src, bits, self.nodes, self.seed),
            scramble(place * k + other, bits, self.nodes, self.seed),
        )

    def labels(self) -> NDArray[np.int32]:
        """The class of every node: inside, node u has class u mod classes, under another name."""
        labels = np.empty(self.nodes, np.int32)
        bits = max(1, (self.nodes - 1).bit_length())
        for start in range(0, self.nodes, EDGE_CHUNK):
            inside = np.arange(start, min(start + EDGE_CHUNK, self.nodes))
            labels[scramble(inside, bits, self.nodes, self.seed)] = inside % self.classes
        return labels


@dataclass(frozen=True, slots=True)
class SynthReport:
    """How far it is: stage ("edges", "nodes", "features", "done"), rows, rate, memory."""

    stage: str
    rows: int
    total_rows: int
    bytes: int
    seconds: float
    rows_per_s: float
    memory_bytes: int


def synthesize(config: Config, out: Path, *, overwrite: bool = False) -> Iterator[SynthReport]:
    """Write `edges.parquet`, `nodes.parquet` (id, label, split) and `features.npy`.

    Raises:
        InputError: such a graph cannot be made.
        ExistsError: the directory is there and is not to be replaced.
    """
    config.check()
    out, began = Path(out), time.perf_counter()
    with publish(out, overwrite=overwrite, marker="edges.parquet") as temporary:
        yield from _write_edges(config, temporary / "edges.parquet")
        labels = config.labels()
        yield from _write_nodes(config, labels, temporary / "nodes.parquet")
        if config.features:
            yield from _write_features(config, labels, temporary / "features.npy")
    size = sum(path.stat().st_size for path in out.iterdir())
    yield _report("done", config.num_edges, config.num_edges, size, began)


def _check(config: Any, classes: int) -> None:
    if not 1 <= config.nodes <= MAX_NODES or config.num_edges < 0:
        raise InputError(f"a graph of {config.nodes} nodes and {config.num_edges} edges cannot "
                         f"be made; give 1 … {MAX_NODES} nodes and 0 edges or more")  # fmt: skip
    if config.features < 0 or classes < 0 or not config.noise >= 0 or config.seed < 0:
        raise InputError("features, classes, noise and seed are not negative")
    if config.feature_dtype not in FEATURE_TYPES:
        raise InputError(f"features cannot be {config.feature_dtype!r}; choose one of "
                         f"{', '.join(FEATURE_TYPES)}")  # fmt: skip


# --- files --------------------------------------------------------------------------------------


def _report(stage: str, rows: int, total: int, size: int, began: float) -> SynthReport:
    seconds = max(time.perf_counter() - began, 1e-9)
    resident = int(psutil.Process().memory_info().rss)
    return SynthReport(stage, rows, total, size, seconds, rows / seconds, resident)


def _write_edges(config: Config, path: Path) -> Iterator[SynthReport]:
    type_ = pa.int32() if config.nodes < 2**31 else pa.int64()
    schema, began = pa.schema([("src", type_), ("dst", type_)]), time.perf_counter()
    # Random ids do not compress and do not repeat: plain pages are both smaller and faster.
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    done, chunks = 0, read_ahead(_edge_chunks(config, type_.to_pandas_dtype()))
    with closing(chunks), pq.ParquetWriter(path, schema, **plain) as writer:
        for columns in chunks:
            done += len(columns[0])
            writer.write_batch(pa.record_batch(columns, schema))
            yield _report("edges", done, config.num_edges, 0, began)


def _edge_chunks(config: Config, dtype: type[Any]) -> Iterator[list[NDArray[Any]]]:
    for start in range(0, config.num_edges, EDGE_CHUNK):
        pairs = config.pairs(start, min(start + EDGE_CHUNK, config.num_edges))
        yield [ids.astype(dtype, copy=False) for ids in pairs]


def _write_nodes(
    config: Config, labels: NDArray[np.int32] | None, path: Path
) -> Iterator[SynthReport]:
    split = pa.dictionary(pa.int8(), pa.string())
    fields = [("id", pa.int64()), ("label", pa.int32()), ("split", split)]
    schema = pa.schema([f for f in fields if f[0] != "label" or labels is not None])
    began = time.perf_counter()
    packed = {"compression": "zstd", "use_dictionary": ["split"]}
    encoding = {"id": "DELTA_BINARY_PACKED"}
    with pq.ParquetWriter(path, schema, **packed, column_encoding=encoding) as writer:
        for start in range(0, config.nodes, EDGE_CHUNK):
            ids = np.arange(start, min(start + EDGE_CHUNK, config.nodes))
            tenth = _bounded(mix((ids + SPLITS).astype(np.uint64), config.seed), 10)
            codes = np.searchsorted(SPLIT_TENTHS, tenth, "right").astype(np.int8)
            words = pa.DictionaryArray.from_arrays(codes, pa.array(SPLIT))
            columns = [ids, words] if labels is None else [ids, labels[ids], words]
            writer.write_batch(pa.record_batch(columns, schema))
            yield _report("nodes", int(ids[-1]) + 1, config.nodes, 0, began)


def _write_features(
    config: Config, labels: NDArray[np.int32] | None, path: Path
) -> Iterator[SynthReport]:
    shape, began, done = (config.nodes, config.features), time.perf_counter(), 0
    with (
        ArrayWriter(path, np.dtype(config.feature_dtype), shape) as writer,
        closing(read_ahead(_feature_chunks(config, labels))) as chunks,
    ):
        for rows in chunks:
            writer.write(rows)
            done += len(rows)
            yield _report("features", done, config.nodes, 0, began)
        writer.close()


def _feature_chunks(
    config: Config, labels: NDArray[np.int32] | None
) -> Iterator[NDArray[np.float32]]:
    d, threads = config.features, kernels.default_threads()
    centers = kernels.normals(CENTERS, max(config.classes, 1) * d, config.seed, 1).reshape(-1, d)
    rows = max(1, FEATURE_CHUNK_BYTES // (8 * d))
    for start in range(0, config.nodes, rows):
        end = min(start + rows, config.nodes)
        x = kernels.normals(NOISE + start * d, (end - start) * d, config.seed, threads)
        x = x.reshape(-1, d)
        if labels is not None:
            x *= np.float32(config.noise)
            x += centers[labels[start:end]]
        yield x


# --- draws --------------------------------------------------------------------------------------


def _bounded(words: NDArray[np.uint64], n: int) -> NDArray[np.int64]:
    """Numbers in 0 … n - 1 from random words, for n up to 2**40 (bias below 2**-24)."""
    high = (words >> np.uint64(32)) * np.uint64(n) if n <= 1 << 32 else None
    if high is not None:
        return (high >> np.uint64(32)).astype(np.int64)
    return (words % np.uint64(n)).astype(np.int64)


def _bounded_each(words: NDArray[np.uint64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """As `_bounded`, with a size for every word."""
    return (words % sizes.astype(np.uint64)).astype(np.int64)
