"""Layers whose input rows exceed a bound on memory: sums by ranges of destinations.

Edges are put into buckets once, by range of destinations and block of sources. For one range after
another the blocks of source rows are then read front to back, and what their edges bring is added
to float32 sums of that range, in ascending order of blocks. The rows are read once per range,
always in order; nothing is looked up on disk (the grid of GridGraph: Zhu, Han, Chen 2015).

Sums are added up block by block, so their last bits differ from those of a pass in memory.
"""

from __future__ import annotations

import mmap
import shutil
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gnn.layerwise import Passes
from gnn.linear import LinearLayer, join_own
from gnn.storage import RUN_ROWS, Fill, Outcome, sample_runs
from sampling import FeatureTable, Graph, kernels
from sampling.errors import InputError

__all__ = ["Buckets", "Grid", "OutOfCoreLayer"]

LEAST_ROWS = 2 * RUN_ROWS
RECORD_BYTES = 128
"""What handling one edge takes beside the row that it brings."""

Run = tuple[int, int]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Grid:
    """How destinations and sources are cut so that their rows fit into memory.

    Half of the bound is for the sums of a range, an eighth for a block of source rows, an eighth
    for the edges at work, and a quarter is left to what they bring and to tiles of output.

    Attributes:
        tile_rows: rows of output at once.
        range_rows: destinations summed at once, whole tiles.
        block_rows: source rows in memory at once.
        piece_edges: edges at once.
    """

    tile_rows: int
    range_rows: int
    block_rows: int
    piece_edges: int

    @classmethod
    def of(cls, memory: int, width: int, tile_rows: int) -> Grid:
        """The grid for rows at most `width` wide under `memory` bytes.

        Raises:
            InputError: the bound is too small for anything.
        """
        row_bytes = 4 * width
        if memory < LEAST_ROWS * row_bytes:
            raise InputError(
                f"memory is {memory} bytes; rows {width} wide need {LEAST_ROWS * row_bytes} or more"
            )
        tile = min(tile_rows, memory // 16 // row_bytes)
        return cls(
            tile,
            memory // 2 // row_bytes // tile * tile,
            memory // 8 // row_bytes,
            memory // 8 // (row_bytes + RECORD_BYTES),
        )

    def ranges(self, num_rows: int) -> list[Run]:
        """First and last destination of every range."""
        starts = range(0, num_rows, self.range_rows)
        return [(start, min(start + self.range_rows, num_rows)) for start in starts]


class Buckets:
    """Edges on disk by range of destinations and block of sources; records of two int32.

    Args:
        directory: where; emptied.
        graph: the whole graph.
        grid: the cuts.
    """

    def __init__(self, directory: Path, graph: Graph, grid: Grid) -> None:
        self.directory, self.graph, self.grid = directory, graph, grid
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()

    @property
    def num_blocks(self) -> int:
        return -(-self.graph.num_nodes // self.grid.block_rows)

    def has(self, name: str) -> bool:
        """Whether `fill` was called."""
        return (self.directory / name).is_dir()

    def fill(self, name: str, runs: list[Run]) -> None:
        """Sort the edges into these destinations, numbered in the order of `runs`, by block."""
        (self.directory / name).mkdir()
        for local, sources in self._pieces(runs):
            blocks = sources // self.grid.block_rows
            order = np.argsort(blocks, kind="stable")
            cuts = np.searchsorted(blocks[order], np.arange(self.num_blocks + 1))
            records = np.stack([local, sources % self.grid.block_rows], axis=1)[order]
            for block in np.flatnonzero(np.diff(cuts)).tolist():
                with self._path(name, block).open("ab") as file:
                    records[cuts[block] : cuts[block + 1]].astype(np.int32).tofile(file)
        _release(self.graph.indices)

    def read(self, name: str, block: int) -> Iterator[tuple[Array, Array]]:
        """(destinations, sources within the block) of a bucket, a piece at a time, in order."""
        path, size = self._path(name, block), self.grid.piece_edges
        if not path.exists():
            return
        with path.open("rb") as file:
            while len(records := np.fromfile(file, np.int32, 2 * size).reshape(-1, 2)):
                yield records[:, 0], np.ascontiguousarray(records[:, 1])

    def _pieces(self, runs: list[Run]) -> Iterator[tuple[Array, Array]]:
        indptr, first = self.graph.indptr, 0
        for start, end in runs:
            lo, hi = int(indptr[start]), int(indptr[end])
            for a in range(lo, hi, self.grid.piece_edges):
                edges = np.arange(a, min(a + self.grid.piece_edges, hi))
                nodes = np.searchsorted(indptr[start : end + 1], edges, side="right") - 1
                yield nodes + first, self.graph.indices[edges[0] : edges[-1] + 1]
            first += end - start

    def _path(self, name: str, block: int) -> Path:
        return self.directory / name / f"{block}.edges"


class OutOfCoreLayer:
    """A layer whose sums are made from buckets; `rows` and `sample` are the `Fill`s of its tiles.

    Args:
        passes: the layers.
        i: this one.
        x: rows that it reads in the order of nodes.
        messages: rows that travel along the edges.
        buckets: edges.

    Raises:
        InputError: the convolution is not a linear one.
    """

    def __init__(
        self, passes: Passes, i: int, x: FeatureTable, messages: FeatureTable, buckets: Buckets
    ) -> None:
        layer = passes.layers[i]
        if layer is None:
            raise InputError(
                f"layer {i + 1} is of a kind that runs in memory only; embed without memory"
            )
        self.passes, self.i, self.layer = passes, i, layer
        self.x, self.messages, self.buckets = x, messages, buckets
        self._range: Run = (0, 0)
        self._received = np.empty((0, messages.dim), np.float32)

    def rows(self, start: int, out: FeatureTable) -> Outcome:
        """Fill `out` with output rows of nodes from `start` on, which lie in one range."""
        first, end = self._range
        if not first <= start < end:
            grid = self.buckets.grid
            number = start // grid.range_rows
            self._range = grid.ranges(self.passes.graph.num_nodes)[number]
            self._received = self._sums(f"range-{number}", [self._range])
        return self._finish(start, self._received[start - self._range[0] :], out)

    def sample(self, num_rows: int) -> Fill:
        """A `Fill` for the runs of `sample_runs(num_rows)` alone, in their order."""
        runs = sample_runs(num_rows)
        step = self.buckets.grid.range_rows // RUN_ROWS

        def fill(start: int, out: FeatureTable) -> Outcome:
            number = bisect(runs, (start, num_rows)) - 1
            first = number - number % step
            if number == first:
                self._received = self._sums(f"sample-{first}", runs[first : first + step])
            before = sum(end - begin for begin, end in runs[first:number])
            return self._finish(start, self._received[before:], out)

        return fill

    def _finish(self, start: int, received: Array, out: FeatureTable) -> Outcome:
        """Rows of `out` from the sums of their destinations, which come first in `received`."""
        layer, x = self.layer, self.x

        def fill(tile: FeatureTable) -> Outcome:
            ours = received[: tile.num_rows]
            return layer.finish(x, ours, start, tile, torch.get_num_threads())

        outcome = self.passes.then_between(self.i, x, start, out, fill)
        _release(x.array)
        return outcome

    def _sums(self, name: str, runs: list[Run]) -> Array:
        """What the edges bring to the destinations of `runs`, (destinations, d) float32."""
        if not self.buckets.has(name):
            self.buckets.fill(name, runs)
        self._received = np.empty((0, self.messages.dim), np.float32)  # before room for the next
        is_max = self.layer.reduce == "max"
        total = np.full(
            (sum(end - start for start, end in runs), self.messages.dim),
            -np.inf if is_max else 0.0,
            np.float32,
        )
        for block in range(self.buckets.num_blocks):
            self._add_block(name, block, total)
        self._weigh(runs, total)
        return total

    def _add_block(self, name: str, block: int, total: Array) -> None:
        first = block * self.buckets.grid.block_rows
        nodes = slice(first, first + self.buckets.grid.block_rows)
        rows, norm = None, self.layer.norm
        for destinations, sources in self.buckets.read(name, block):
            if rows is None:
                rows = np.array(self.messages.array[nodes])
                _release(self.messages.array)
            starts = np.flatnonzero(np.diff(destinations, prepend=-1))
            reduce = "max" if self.layer.reduce == "max" else "sum"
            brought, _ = kernels.aggregate(
                np.append(starts, len(sources)), sources, rows, self.messages.scale, None,
                None if norm is None else norm[nodes], reduce, torch.get_num_threads(),
            )  # fmt: skip
            present = destinations[starts]
            if reduce == "max":
                total[present] = np.maximum(total[present], brought)
            else:
                total[present] += brought

    def _weigh(self, runs: list[Run], total: Array) -> None:
        """Make sums into what the layer receives, in place."""
        layer, first = self.layer, 0
        for start, end in runs:
            part = total[first : first + end - start]
            degrees = np.diff(self.passes.graph.indptr[start : end + 1])
            step = self.buckets.grid.tile_rows
            if layer.norm is not None:
                _normalize(layer, self.messages, start, part, step)
            elif layer.reduce == "gcn":
                for i in range(0, len(part), step):
                    join_own(part[i : i + step], self.passes.graph, self.messages, start + i)
            elif layer.reduce == "mean":
                part *= (1.0 / np.maximum(degrees, 1)).astype(np.float32)[:, None]
            elif layer.reduce == "max":
                part[degrees == 0] = 0.0
            first += end - start


def _release(array: Array) -> None:
    """Let go of the pages of a mapped array that were read; they come back when needed."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def _normalize(
    layer: LinearLayer, messages: FeatureTable, start: int, part: Array, step: int
) -> None:
    """n_v (sum + n_v m_v), a few rows at a time."""
    assert layer.norm is not None, "callers check"
    for i in range(0, len(part), step):
        rows = part[i : i + step]
        norm = layer.norm[start + i : start + i + len(rows), None]
        rows += norm * messages.rows(start + i, start + i + len(rows)).numpy()
        rows *= norm
