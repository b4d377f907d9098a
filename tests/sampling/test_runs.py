"""Rows larger than the memory that an ingest may use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sampling.graph.edge_features import packed_rows
from sampling.graph.edges import Edges, EdgeSink, EdgeTypes
from sampling.graph.runs import RunMerger

NODES, EDGES, HUB = 5000, 40_000, 1234
COLUMNS = ("type", "time", "weight", "features")


def hub_edges(columns: tuple[str, ...], distinct: bool) -> Edges:
    """Edges of which nine in ten lead to one node."""
    rng = np.random.default_rng(0)
    src = rng.integers(0, NODES if distinct else 2, EDGES).astype(np.int32)
    dst = np.where(rng.random(EDGES) < 0.9, HUB, rng.integers(0, NODES, EDGES)).astype(np.int32)
    every = {
        "type": rng.integers(0, 3, EDGES).astype(np.int16),
        "time": rng.integers(0, 4, EDGES),
        "weight": rng.integers(0, 3, EDGES).astype(np.float32),
        "features": packed_rows(rng.integers(-1, 2, (EDGES, 3)).astype(np.float32)),
    }
    return Edges(src, dst, **{name: every[name] for name in columns})


def built(edges: Edges, directory: Path, free: int, drop: bool) -> tuple[dict[str, bytes], int]:
    """The arrays of a graph, and the edges that were spilled for them."""
    directory.mkdir()
    types = EdgeTypes()
    types.encode(pa.array(["z", "y", "x"], pa.large_string()))
    with EdgeSink(directory, NODES, free, types, 2) as sink:
        for start in range(0, EDGES, 3000):
            sink.add(edges.take(np.arange(start, min(start + 3000, EDGES))))
        list(sink.finish(drop_duplicates=drop))
        assert sink.num_edges + sink.num_duplicates == EDGES
    return {path.name: path.read_bytes() for path in directory.iterdir()}, sink.num_spilled


@pytest.mark.parametrize("columns", [(), ("type",), ("time",), ("weight",), ("features",), COLUMNS])
@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("drop", [True, False])
def test_a_hub_larger_than_memory_ends_in_the_same_bytes(
    tmp_path: Path, columns: tuple[str, ...], distinct: bool, drop: bool
) -> None:
    edges = hub_edges(columns, distinct)
    whole, spilled = built(edges, tmp_path / "whole", 1 << 30, drop)
    assert spilled == 0
    parts, spilled = built(edges, tmp_path / "parts", 150_000, drop)
    assert spilled > EDGES // 2
    assert parts == whole


@pytest.mark.parametrize("columns", [(), COLUMNS])
@pytest.mark.parametrize("distinct", [True, False])
def test_no_part_of_a_hub_is_larger_than_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: tuple[str, ...], distinct: bool
) -> None:
    sizes: list[tuple[int, int]] = []
    merge = RunMerger._merge

    def measured(self, first, last, parts):
        rows = merge(self, first, last, parts)
        sizes.append((len(rows.columns["indices"]), self.group_edges))
        return rows

    monkeypatch.setattr(RunMerger, "_merge", measured)
    built(hub_edges(columns, distinct), tmp_path / "parts", 150_000, False)
    assert sum(size for size, _ in sizes) == EDGES
    assert max(size for size, _ in sizes) <= sizes[0][1] < EDGES // 4


def test_a_spill_file_has_no_name(tmp_path: Path) -> None:
    edges = hub_edges((), True)
    with EdgeSink(tmp_path, NODES, 150_000, EdgeTypes(), 1) as sink:
        for start in range(0, EDGES, 3000):
            sink.add(edges.take(np.arange(start, min(start + 3000, EDGES))))
        assert sink.num_spilled > 0
        assert list(tmp_path.iterdir()) == []
