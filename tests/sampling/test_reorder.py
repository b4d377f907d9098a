"""Reordering: invisible in everything that is asked for by id, and near where it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gnn import ModelConfig, build_model
from sampling import FullNeighborSampler, GraphStore
from sampling.errors import InputError
from sampling.graph.ingest import IngestConfig, ingest
from sampling.graph.store import SPLIT_CODES, Dataset
from sampling.graph.synthetic import SbmConfig, synthesize

ORDERS = ["degree", "community"]
NODES, EDGES = 500, 4000


def ingested(out: Path, reorder: str, **config: Any) -> Dataset:
    for _ in ingest(IngestConfig(out=out, reorder=reorder, **config)):
        pass
    return GraphStore.open(out)


def typed_files(folder: Path, strings: bool) -> dict[str, Any]:
    """Nodes of three types with everything that a node can have, and such edges."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(NODES) * 7 - 900
    keys = pa.array([f"n{i}" for i in ids]) if strings else pa.array(ids)
    pq.write_table(pa.table({
        "id": keys,
        "type": rng.choice(["b", "a", "c"], NODES),
        "label": rng.integers(-1, 4, NODES),
        "split": rng.choice(["train", "val", "test", "none"], NODES),
        "time": rng.integers(0, 99, NODES),
    }), folder / "n.parquet")  # fmt: skip
    src, dst = rng.integers(0, NODES, EDGES), (rng.pareto(1.0, EDGES) * 9 % NODES).astype(int)
    pq.write_table(pa.table({
        "src": keys.take(pa.array(src)),
        "dst": keys.take(pa.array(dst)),
        "type": rng.choice(["y", "x"], EDGES),
        "time": rng.integers(0, 5, EDGES),
        "weight": rng.random(EDGES).astype(np.float32),
    }), folder / "e.parquet")  # fmt: skip
    np.save(folder / "x.npy", rng.normal(size=(NODES, 6)).astype(np.float32))
    return {"edges": [folder / "e.parquet"], "nodes": [folder / "n.parquet"],
            "features": folder / "x.npy", "feature_rows": "nodes"}  # fmt: skip


def facts(data: Dataset) -> dict[Any, Any]:
    """Everything that is known of every node, by its id."""
    graph, ids = data.graph, data.ids.to_ids(np.arange(data.graph.num_nodes))
    assert data.features is not None and data.labels is not None and data.splits is not None
    kind = np.searchsorted([t.end for t in graph.node_types], np.arange(len(ids)), "right")
    found = {}
    for v, key in enumerate(ids):
        lo, hi = graph.indptr[v], graph.indptr[v + 1]
        columns = [c[lo:hi].tolist() for c in (graph.edge_type, graph.edge_time, graph.edge_weight)
                   if c is not None]  # fmt: skip
        near = sorted(zip([ids[u] for u in graph.indices[lo:hi]], *columns, strict=True))
        found[key] = (
            near,
            data.features.array[v].tolist(),
            int(data.labels[v]),
            data.splits[v].tolist(),
            graph.node_types[kind[v]].name,
            None if data.node_time is None else int(data.node_time[v]),
        )
    return found


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("reorder", ORDERS)
def test_every_answer_by_id_is_the_same(tmp_path: Path, reorder: str, strings: bool) -> None:
    files = typed_files(tmp_path, strings)
    before = ingested(tmp_path / "before", "none", **files)
    after = ingested(tmp_path / "after", reorder, **files)
    assert facts(before) == facts(after)
    assert before.meta.node_types == after.meta.node_types
    everyone = np.arange(NODES)
    assert before.ids.to_ids(everyone) != after.ids.to_ids(everyone)
    assert after.meta.provenance["reorder"] == reorder
    assert "reorder" not in before.meta.provenance
    assert sorted(p.name for p in (tmp_path / "after").iterdir()) == sorted(
        [*(f"{name}.npy" for name in after.meta.arrays), "graph.json"]
    )


@pytest.mark.parametrize("reorder", ORDERS)
def test_drawn_splits_and_features_by_id_follow_their_nodes(tmp_path: Path, reorder: str) -> None:
    rng = np.random.default_rng(1)
    pairs = pa.table({"src": rng.integers(0, 200, 900), "dst": rng.integers(0, 200, 900)})
    pq.write_table(pairs, tmp_path / "e.parquet")
    np.save(tmp_path / "x.npy", np.arange(200, dtype=np.float32)[:, None])
    config = {"edges": [tmp_path / "e.parquet"], "features": tmp_path / "x.npy",
              "random_split": (0.5, 0.25, 0.25)}  # fmt: skip
    before = ingested(tmp_path / "before", "none", **config)
    after = ingested(tmp_path / "after", reorder, **config)
    assert before.ids.kind == "range" and after.ids.kind == "int"
    ids = np.array(after.ids.to_ids(np.arange(200)))
    assert after.features is not None and after.splits is not None and before.splits is not None
    assert np.array_equal(after.features.array[:, 0], ids)
    assert np.array_equal(after.splits, before.splits[ids])
    assert after.nodes_in("train").size == (before.splits == SPLIT_CODES["train"]).sum()


@pytest.mark.parametrize("reorder", ORDERS)
@pytest.mark.parametrize("conv", ["sage", "gcn"])
def test_exact_predictions_are_the_same(tmp_path: Path, reorder: str, conv: str) -> None:
    list(synthesize(SbmConfig(nodes=300, classes=3, features=8), tmp_path / "s"))
    files = {"edges": [tmp_path / "s/edges.parquet"], "nodes": [tmp_path / "s/nodes.parquet"],
             "features": tmp_path / "s/features.npy", "undirected": True}  # fmt: skip
    torch.manual_seed(0)
    model = build_model(ModelConfig(conv=conv, d_in=8, d_hidden=8, d_out=3, num_layers=2)).eval()
    rows = []
    for order in ("none", reorder):
        data = ingested(tmp_path / order, order, **files)
        assert data.features is not None
        seeds = data.ids.to_dense(list(range(300)))
        blocks = FullNeighborSampler(data.graph, 2).sample(torch.from_numpy(seeds))
        with torch.no_grad():
            rows.append(model(blocks, data.features.gather(blocks[0].src_nodes)))
    assert torch.allclose(*rows, atol=1e-5)


@pytest.mark.parametrize("reorder", ORDERS)
def test_an_order_depends_on_the_graph_alone(tmp_path: Path, reorder: str) -> None:
    files = typed_files(tmp_path, strings=False)
    prints = {
        ingested(tmp_path / f"g{i}", reorder, **files, **more).meta.fingerprint
        for i, more in enumerate(
            ({"num_threads": 1}, {"num_threads": 3}, {"memory_bytes": 8 << 30})
        )
    }
    assert len(prints) == 1


def test_by_degree_the_busiest_come_first_and_ties_stay(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("src,dst\n0,2\n1,2\n2,1\n0,4\n1,4\n0,3\n")
    data = ingested(tmp_path / "g", "degree", edges=[tmp_path / "e.csv"])
    assert data.ids.to_ids(np.arange(5)) == [2, 4, 1, 3, 0]
    assert data.graph.in_degrees().tolist() == [2, 2, 1, 1, 0]


def test_communities_bring_neighbors_together(tmp_path: Path) -> None:
    config = SbmConfig(nodes=20_000, classes=200, avg_degree=16, homophily=0.9)
    list(synthesize(config, tmp_path / "s"))
    gaps = {}
    for order in ("none", "degree", "community"):
        graph = ingested(tmp_path / order, order, undirected=True,
                         edges=[tmp_path / "s/edges.parquet"]).graph  # fmt: skip
        ends = np.repeat(np.arange(graph.num_nodes), graph.in_degrees())
        gaps[order] = np.abs(graph.indices - ends).mean()
    assert gaps["community"] < gaps["none"] / 3
    assert abs(gaps["degree"] / gaps["none"] - 1) < 0.1


def test_an_unknown_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reorder is 'random'"):
        ingested(tmp_path / "g", "random", edges=[tmp_path / "e.csv"])
