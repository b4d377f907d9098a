"""Damaged tables at the door of `gnn ingest`: a graph that is right, or an error of ours."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from fuzz.mutate import spoiled

from sampling import GraphStore
from sampling.errors import GnnError
from sampling.graph.ingest import IngestConfig, ingest

SOME, MANY = 60, 17_000  # 100,000 over all formats
KINDS = ("flip", "flip", "flip", "truncate", "extend", "zeros", "empty")
SUFFIXES = (".parquet", ".csv", ".csv.gz", ".npz", ".mtx", ".nt")


def whole(path: Path) -> bytes:
    """A small valid file of edges of this format."""
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, 30, (2, 80))
    table = pa.table({"src": src, "dst": dst, "weight": rng.random(80).astype("f4")})
    if path.name.endswith(".parquet"):
        pq.write_table(table, path)
    elif path.name.endswith(".npz"):
        np.savez_compressed(path, edges=np.stack([src, dst]).T)
    elif path.name.endswith(".mtx"):
        rows = "\n".join(f"{s + 1} {d + 1}" for s, d in zip(src, dst, strict=True))
        path.write_text(f"%%MatrixMarket matrix coordinate pattern general\n30 30 80\n{rows}\n")
    elif path.name.endswith(".nt"):
        rows = [f"<e:{s}> <p:{s % 3}> <e:{d}> ." for s, d in zip(src, dst, strict=True)]
        path.write_text("\n".join(rows) + "\n")
    else:
        pyarrow.csv.write_csv(table, path)
        if path.name.endswith(".gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
    return path.read_bytes()


def damage_and_ingest(tmp_path: Path, suffix: str, cases: range) -> tuple[int, int]:
    """How many damaged files were refused, and how many made a graph that passes every check."""
    path, out = tmp_path / f"edges{suffix}", tmp_path / "graph"
    right, refused, accepted = whole(path), 0, 0
    for number in cases:
        rng = np.random.default_rng((number, len(suffix)))
        path.write_bytes(spoiled(bytearray(right), str(rng.choice(KINDS)), rng))
        try:
            for _ in ingest(IngestConfig(edges=[path], out=out, overwrite=True)):
                pass
        except (GnnError, MemoryError):
            refused += 1
            continue
        GraphStore.open(out)
        accepted += 1
    leftovers = {p.name for p in tmp_path.iterdir()} - {path.name, "graph"}
    assert not leftovers, "a refused ingest left something behind"
    return refused, accepted


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_table_is_refused_or_makes_a_sound_graph(tmp_path: Path, suffix: str):
    refused, accepted = damage_and_ingest(tmp_path, suffix, range(SOME))
    assert refused + accepted == SOME
    assert refused


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_many_damaged_tables_are_refused_or_make_sound_graphs(tmp_path: Path, suffix: str):
    count = int(os.environ.get("GNN_FUZZ_CASES", str(MANY)))
    assert sum(damage_and_ingest(tmp_path, suffix, range(count))) == count
