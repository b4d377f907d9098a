"""What earlier versions wrote is read, what later ones wrote is refused; edges of what is valid."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from fuzz.victims import sign_model
from world import ROOT, World, add_model, make_world

from gnn import EmbeddingTable, load_model
from sampling import FullNeighborSampler, GraphCollection, GraphStore
from sampling.errors import DamagedError, FutureFormatError, GnnError
from sampling.graph.ingest import IngestConfig, ingest
from service.predictor import open_predictor

KEPT = sorted((ROOT / "tests" / "fixtures").iterdir())
MANIFESTS = ["graph/graph.json", "models/kept/1/model.json", "rows/embeddings.json",
             "graphs/graphs.json"]  # fmt: skip
OPENS = {
    "graph/graph.json": lambda p: GraphStore.open(p / "graph"),
    "models/kept/1/model.json": lambda p: load_model(p / "models" / "kept"),
    "rows/embeddings.json": lambda p: EmbeddingTable.open(p / "rows"),
    "graphs/graphs.json": lambda p: GraphCollection.open(p / "graphs"),
}


@pytest.mark.parametrize("kept", KEPT, ids=[path.name for path in KEPT])
def test_what_an_earlier_version_wrote_is_read_and_answers_the_same(kept: Path):
    wanted = json.loads((kept / "expected.json").read_text())
    data, saved = GraphStore.open(kept / "graph"), load_model(kept / "models" / "kept")
    table = EmbeddingTable.open(kept / "rows")
    assert data.meta.fingerprint == wanted["graph"]
    assert saved.info.digest == wanted["model"]
    assert GraphCollection.open(kept / "graphs").meta.fingerprint == wanted["collection"]
    nodes = torch.arange(data.graph.num_nodes)
    blocks = FullNeighborSampler(data.graph, 2).sample(nodes)
    with torch.no_grad():
        rows = saved.model.encode(blocks, data.features.gather(blocks[0].src_nodes)).numpy()
    assert np.abs(rows - np.array(wanted["rows"])).max() < 1e-5
    assert np.abs(table.rows(nodes.numpy()) - np.array(wanted["rows"])).max() == 0
    assert data.ids.find(["n7", "n23", "x"]).tolist() == [7, 23, -1]


@pytest.mark.parametrize("name", MANIFESTS)
def test_what_a_later_version_wrote_is_refused(tmp_path: Path, name: str):
    shutil.copytree(KEPT[-1], tmp_path / "later")
    manifest = tmp_path / "later" / name
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"format_version": 1000}))
    with pytest.raises(FutureFormatError):
        OPENS[name](tmp_path / "later")


# --- models that must not be served -------------------------------------------------------------


def with_nan(path: Path) -> None:
    weights = load_file(path / "weights.safetensors")
    for tensor in weights.values():
        tensor.ravel()[:] = np.nan
    save_file(weights, path / "weights.safetensors")


def with_other_shape(path: Path) -> None:
    weights = load_file(path / "weights.safetensors")
    save_file({k: v[..., :1].copy() for k, v in weights.items()}, path / "weights.safetensors")


def with_huge_header(path: Path) -> None:
    (path / "weights.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}")


def with_overlapping_tensors(path: Path) -> None:
    header = {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in ("a", "b")}
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + bytes(16)
    (path / "weights.safetensors").write_bytes(content)


def with_a_huge_model(path: Path) -> None:
    content = json.loads((path / "model.json").read_text())
    content["config"]["d_hidden"] = 10**9
    (path / "model.json").write_text(json.dumps(content))


FORGERIES = [with_nan, with_other_shape, with_huge_header, with_overlapping_tensors,
             with_a_huge_model]  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_model_is_refused_and_the_one_before_goes_on(tmp_path: Path, forge):
    world: World = make_world(tmp_path, num_edges=2000)
    settings = world.settings()
    predictor = open_predictor(settings.graph, settings.models, None, settings)
    before = predictor.predict([105], mode="exact", include=["embedding"])
    path = add_model(world.models / "default", world.data, seed=2)
    forge(path)
    sign_model(path)
    predictor.registry.refresh(predictor.test)
    after = predictor.predict([105], mode="exact", include=["embedding"])
    assert after.model_version == before.model_version == 1
    assert after.predictions[0]["embedding"] == before.predictions[0]["embedding"]


# --- inputs at the edge of what is valid ----------------------------------------------------------


def ingested(tmp_path: Path, edges: str, **options: object):
    (tmp_path / "e.csv").write_text("src,dst\n" + edges)
    config = IngestConfig(edges=[tmp_path / "e.csv"], out=tmp_path / "g", **options)
    for _ in ingest(config):
        pass
    return GraphStore.open(tmp_path / "g")


def test_ids_that_differ_only_in_how_unicode_is_composed_are_two(tmp_path: Path):
    one, two = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    data = ingested(tmp_path, f"{one},{two}\nﬁ,fi\n")
    assert data.graph.num_nodes == 4
    assert len(set(data.ids.find([one, two, "ﬁ", "fi"]).tolist())) == 4


def test_ids_at_the_ends_of_64_bits_are_found_exactly(tmp_path: Path):
    ids = [-(2**63), -(2**63) + 1, 2**53, 2**53 + 1, 2**63 - 2, 2**63 - 1]
    edges = "".join(f"{a},{b}\n" for a in ids for b in ids)
    data = ingested(tmp_path, edges)
    assert data.graph.num_nodes == len(ids)
    assert data.ids.find(ids).tolist() == list(range(len(ids)))
    assert data.ids.find([2**53 + 2, 0, -1]).tolist() == [-1] * 3
    with pytest.raises(GnnError):
        ingested(tmp_path / "..", f"{2**63},1\n", overwrite=True)


def test_one_node_self_loops_and_parallel_edges_are_kept(tmp_path: Path):
    data = ingested(tmp_path, "5,5\n5,5\n5,5\n")
    assert (data.graph.num_nodes, data.graph.num_edges) == (1, 3)
    assert data.graph.in_neighbors(0).tolist() == [0, 0, 0]


def test_no_edges_are_refused_or_an_empty_graph(tmp_path: Path):
    (tmp_path / "n.csv").write_text("id\n1\n2\n")
    data = ingested(tmp_path, "", nodes=[tmp_path / "n.csv"])
    assert (data.graph.num_nodes, data.graph.num_edges) == (2, 0)


def test_thousands_of_ids_that_begin_alike_are_all_found(tmp_path: Path):
    ids = [f"{i:05d}" * (1 + i % 3) for i in range(3000)]
    edges = "".join(f"{a},{b}\n" for a, b in pairwise(ids))
    data = ingested(tmp_path, edges, id_type="string")
    found = data.ids.find(ids)
    assert sorted(found.tolist()) == list(range(3000))
    digest = hashlib.sha256(",".join(ids).encode()).hexdigest()
    assert data.ids.find([digest, ""]).tolist() == [-1, -1]


def test_a_manifest_with_absurd_counts_is_refused_before_memory_is_asked_for(tmp_path: Path):
    shutil.copytree(KEPT[-1] / "graph", tmp_path / "g")
    content = json.loads((tmp_path / "g" / "graph.json").read_text())
    for count in (2**40, 2**62, -1, 1e300, "many"):
        changed = content | {"num_nodes": count, "num_edges": count}
        (tmp_path / "g" / "graph.json").write_text(json.dumps(changed))
        with pytest.raises(DamagedError):
            GraphStore.open(tmp_path / "g")
