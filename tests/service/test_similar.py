"""Similar nodes: exact search against a plain sort, the index against exact search."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from inprocess import InProcess, in_process
from serving import serving, stages_of
from world import World

from gnn import EmbeddingTable, embed, load_model
from gnn.embeddings import EMBEDDINGS, INDEX_FILE, EmbeddingMeta, IndexInfo, file_checksum
from gnn.similar import SimilarIndex, build_index, exact_neighbors
from sampling.errors import DamagedError, InputError
from sampling.graph.meta import ArrayInfo


@pytest.fixture(scope="module")
def indexed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model's table with an index."""
    out = tmp_path_factory.mktemp("indexed") / "embeddings"
    reports = list(embed(load_model(world.models / "default"), world.data, out, index=True))
    assert reports[-1].stage == "index"
    return out


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[InProcess]:
    settings = world.settings(embeddings=world.embeddings, max_similar_nodes=5)
    with in_process(settings) as client:
        yield client


def similar(client: InProcess, **body):
    return client.post("/v1/nodes/similar", json=body)


def nearest(table: np.ndarray, query: np.ndarray, k: int, skip: int = -1) -> list[int]:
    lengths = np.linalg.norm(table, axis=1) * np.linalg.norm(query)
    order = np.argsort(-(table @ query) / lengths, kind="stable").tolist()
    return [node for node in order if node != skip][:k]


def clustered(path: Path, num_rows: int, dim: int) -> EmbeddingTable:
    """A table of random clusters, with an index where it is small."""
    rng = np.random.default_rng(7)
    centers = rng.standard_normal((200, dim))
    rows = centers[rng.integers(0, 200, num_rows)] + 0.5 * rng.standard_normal((num_rows, dim))
    rows = rows.astype(np.float32)
    indexed = min(num_rows, 6000)
    for _ in build_index(lambda a, b: rows[a:b], indexed, dim, path / INDEX_FILE):
        pass
    array = ArrayInfo(dtype="<f4", shape=(num_rows, dim), xxh3="0" * 16)
    size, checksum = (path / INDEX_FILE).stat().st_size, file_checksum(path / INDEX_FILE)
    meta = EmbeddingMeta(
        model_name="m", model_version=1, model_digest="", task="node-regression", classes=[],
        graph_name="g", graph_version=1, graph_fingerprint="", num_nodes=num_rows, dim=dim,
        num_outputs=0, storage="float32", arrays={EMBEDDINGS: array},
        index=IndexInfo(size_bytes=size, xxh3=checksum),
    )  # fmt: skip
    return EmbeddingTable(path, meta, rows, None)


def test_the_index_finds_nearly_all_that_exact_search_finds(tmp_path: Path):
    table = clustered(tmp_path, 6000, 32)
    queries = table.rows(np.arange(0, 6000, 60))
    exact = exact_neighbors(table, queries, 10)
    found = SimilarIndex(table).neighbors(queries, 10)
    shared = [len(set(a[0]) & set(b[0])) for a, b in zip(exact, found, strict=True)]
    assert sum(shared) / 1000 >= 0.95
    for (nodes, scores), query in zip(found, queries, strict=True):
        rows = table.rows(nodes)
        cosines = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
        assert np.abs(scores - cosines).max() < 1e-5, "scores are those of the table"
        assert (np.diff(scores) <= 0).all()


def test_exact_search_is_a_sort_of_all_rows(tmp_path: Path):
    table = clustered(tmp_path, 40_000, 8)
    queries = table.rows(np.array([3, 39_999]))
    for query, (nodes, _) in zip(queries, exact_neighbors(table, queries, 50), strict=True):
        assert set(nodes) == set(nearest(table.embeddings, query, 50))


def test_a_row_of_zeros_is_near_nothing_and_ties_go_to_the_lower_node(tmp_path: Path):
    table = clustered(tmp_path, 300, 4)
    table.embeddings[:] = 1
    table.embeddings[7] = 0
    [(nodes, scores)] = exact_neighbors(table, np.ones((1, 4), np.float32), 300)
    assert nodes.tolist() == [*range(7), *range(8, 300), 7]
    assert scores[-1] == 0


def test_neighbors_of_a_node_leave_it_out_and_carry_ids(client: InProcess, world: World):
    table = np.load(world.embeddings / "embeddings.npy")
    answer = similar(client, node=105, k=7).json()
    assert (answer["source"], answer["model_version"]) == ("exact", 1)
    listed = [entry["node"] for entry in answer["neighbors"]]
    assert listed == [node + 100 for node in nearest(table, table[5], 7, skip=5)]
    scores = [entry["score"] for entry in answer["neighbors"]]
    assert scores == sorted(scores, reverse=True)
    assert len(similar(client, node=105).json()["neighbors"]) == 10


def test_several_nodes_and_a_vector(client: InProcess, world: World):
    several = similar(client, nodes=[105, 100, 105], k=3).json()["results"]
    assert [entry["node"] for entry in several] == [105, 100, 105]
    assert several[0] == several[2]
    assert several[0]["neighbors"] == similar(client, node=105, k=3).json()["neighbors"]
    vector = np.load(world.embeddings / "embeddings.npy")[5].tolist()
    nearest_of_vector = similar(client, embedding=vector, k=1).json()["neighbors"]
    assert nearest_of_vector == [{"node": 105, "score": pytest.approx(1, abs=1e-6)}]


def test_a_vector_may_have_any_length(client: InProcess):
    wanted = similar(client, embedding=[1.0] * 16).json()
    for length in (3e38, 1e308, 1e-300, 7):
        assert similar(client, embedding=[length] * 16).json() == wanted


def test_the_index_serves_what_the_table_says(world: World, indexed: Path, client: InProcess):
    with in_process(world.settings(embeddings=indexed, similar_exact_rows=0)) as quick:
        answer = similar(quick, node=105, k=5).json()
        assert answer["source"] == "index"
        exact = similar(client, node=105, k=5).json()["neighbors"]
        got = [entry["score"] for entry in answer["neighbors"]]
        assert got == pytest.approx([entry["score"] for entry in exact], abs=1e-3)


def test_ids_of_text(string_world: World):
    with in_process(string_world.settings(embeddings=string_world.embeddings)) as client:
        answer = similar(client, node="n17", k=2).json()
        assert all(isinstance(entry["node"], str) for entry in answer["neighbors"])


def refused(response, status: int, code: str) -> dict:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    return response.json()


def test_without_a_table_or_an_index_it_says_what_to_run(world: World):
    with in_process(world.settings()) as client:
        assert "gnn embed" in refused(similar(client, node=105), 409, "no_table")["detail"]
    settings = world.settings(embeddings=world.embeddings, similar_exact_rows=1499)
    with in_process(settings) as client:
        problem = refused(similar(client, node=105), 409, "no_index")
        assert "--index" in problem["detail"]
        assert (problem["num_rows"], problem["limit"]) == (1500, 1499)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"node": 105, "nodes": [105]}, "invalid_request"),
        ({"node": 105, "embedding": [1.0]}, "invalid_request"),
        ({"nodes": []}, "invalid_request"),
        ({"node": 7}, "unknown_node"),
        ({"nodes": [105, "105"]}, "unknown_node"),
        ({"node": True}, "invalid_request"),
        ({"nodes": [105] * 6}, "limit_exceeded"),
        ({"node": 105, "k": 0}, "invalid_request"),
        ({"node": 105, "k": 1001}, "invalid_request"),
        ({"node": 105, "k": 1.5}, "invalid_request"),
        ({"node": 105, "mode": "exact"}, "invalid_request"),
        ({"embedding": [1.0] * 15}, "invalid_request"),
        ({"embedding": [0.0] * 16}, "invalid_request"),
        ({"embedding": ["1"] * 16}, "invalid_request"),
    ],
)
def test_what_cannot_be_searched_for_is_422(client: InProcess, body: dict, code: str):
    refused(similar(client, **body), 422, code)


def test_nan_is_no_number(client: InProcess):
    content = b'{"embedding": [NaN' + b",1.0" * 15 + b"]}"
    headers = {"content-type": "application/json"}
    response = client.post("/v1/nodes/similar", content=content, headers=headers)
    refused(response, 422, "invalid_request")


def test_a_damaged_index_is_refused_by_name(indexed: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in indexed.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    EmbeddingTable.open(copy)
    content = bytearray((copy / INDEX_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / INDEX_FILE).write_bytes(content)
    with pytest.raises(DamagedError, match=INDEX_FILE):
        EmbeddingTable.open(copy)
    for damage in (b"", content[:-1]):
        (copy / INDEX_FILE).write_bytes(damage)
        with pytest.raises(DamagedError, match=INDEX_FILE):
            EmbeddingTable.open(copy, verify=False)
    (copy / INDEX_FILE).unlink()
    with pytest.raises(DamagedError, match=INDEX_FILE):
        EmbeddingTable.open(copy, verify=False)


def test_a_table_of_before_there_were_indexes_is_read(world: World, tmp_path: Path):
    copy = tmp_path / "old"
    copy.mkdir()
    for path in world.embeddings.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((copy / "embeddings.json").read_text())
    assert manifest.pop("index") is None
    from gnn.embeddings import _digest

    manifest["digest"] = _digest(manifest)
    (copy / "embeddings.json").write_text(json.dumps(manifest))
    assert EmbeddingTable.open(copy).meta.index is None


def test_an_index_of_parquet_parts_is_refused(world: World, tmp_path: Path):
    saved = load_model(world.models / "default")
    with pytest.raises(InputError, match="npy"):
        next(embed(saved, world.data, tmp_path / "e", format="parquet", index=True))


def test_server_timing_and_metrics_have_the_stages_of_a_search(world: World):
    with serving(world.settings(embeddings=world.embeddings)) as server:
        body = {"nodes": list(range(100, 200)), "k": 50}
        answer = server.client.post("/v1/nodes/similar", json=body)
        stages = stages_of(answer)
        assert stages["queue"] > 0
        assert stages["compute"] > 0.5
        assert sum(stages.values()) <= answer.elapsed.total_seconds() * 1e3
        text = server.client.get("/metrics").text
        assert 'gnn_stage_seconds_count{stage="compute"} 1.0' in text
        assert 'gnn_stage_seconds_count{stage="queue"} 1.0' in text
