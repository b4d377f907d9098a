"""What if: an overlay answers as a graph that really has those edges, and leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inprocess import InProcess, in_process
from world import DIM, NUM_NODES, World, add_model, make_world

from gnn import load_model
from sampling import Dataset, FullNeighborSampler, Graph
from service.overlay import EdgeEdits, overlay_blocks, overlay_of

MODELS = {"gcn": {"conv": "gcn"}, "sage_gcn": {"conv": "sage", "aggregator": "gcn"}}
N = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("overlay"))
    for name, config in MODELS.items():
        add_model(world.models / name, world.data, seed=3, **config)
    return world


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[InProcess]:
    settings = world.settings(embeddings=world.embeddings, max_overlay_edges=6)
    with in_process(settings) as client:
        yield client


def edges_of(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    dst = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    return np.asarray(graph.indices, np.int64), dst


def really(graph: Graph, added: list, removed: list) -> Graph:
    """The graph with these edges."""
    src, dst = edges_of(graph)
    gone = {tuple(pair) for pair in removed}
    kept = [(u, v) not in gone for u, v in zip(src.tolist(), dst.tolist(), strict=True)]
    new = np.array(added, np.int64).reshape(-1, 2)
    src, dst = np.concatenate([src[kept], new[:, 0]]), np.concatenate([dst[kept], new[:, 1]])
    return Graph.from_edges(src, dst, num_nodes=graph.num_nodes)


def predict(client: InProcess, **body):
    return client.post("/v1/nodes/predict", json=body)


@pytest.mark.parametrize("model", ["default", *MODELS])
def test_the_answer_is_that_of_a_graph_that_has_the_edges(client: InProcess, world: World, model):
    src, dst = edges_of(world.data.graph)
    pick = [int(np.flatnonzero(dst == node)[0]) for node in (5, 0)]
    removed = [(int(src[i]), int(dst[i])) for i in pick]
    # into a seed, into a neighbor of a seed, from a node that nothing else would read
    added = [(700, 5), (701, int(src[pick[0]])), (702, 700), (5, 6)]
    seeds = [5, 6, 0, 5]
    response = predict(
        client,
        nodes=[seed + 100 for seed in seeds],
        model=model,
        include=["embedding", "label"],
        overlay={
            "add_edges": [[u + 100, v + 100] for u, v in added],
            "remove_edges": [[u + 100, v + 100] for u, v in removed],
        },
    )
    assert response.status_code == 200, response.text
    entries = response.json()["predictions"]
    assert {(e["source"], e["mode"]) for e in entries} == {("computed", "exact")}
    got = np.array([entry["embedding"] for entry in entries])

    changed = really(world.data.graph, added, removed)
    saved = load_model(world.models / model)
    blocks = FullNeighborSampler(changed, 2).sample(torch.tensor([5, 6, 0]))
    with torch.inference_mode():
        x = world.data.features.gather(blocks[0].src_nodes)
        wanted = saved.model.encode(blocks, x).numpy()[[0, 1, 2, 0]]
    assert np.abs(got - wanted).max() < 1e-5
    plain = predict(client, nodes=[105], model=model, mode="exact", include=["embedding"])
    assert np.abs(got[0] - plain.json()["predictions"][0]["embedding"]).max() > 1e-3


pairs = st.tuples(st.integers(0, N - 1), st.integers(0, N - 1))


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.lists(pairs, min_size=1, max_size=40),
    st.lists(pairs, max_size=6, unique=True),
    st.lists(st.integers(0, 39), max_size=6),
    st.lists(st.integers(0, N - 1), min_size=1, max_size=4, unique=True),
    st.integers(1, 3),
)
def test_hops_are_those_of_the_changed_graph(edges, added, gone, seeds, num_layers):
    src, dst = np.array(edges).T
    graph = Graph.from_edges(src, dst, num_nodes=N)
    removed = sorted({edges[i % len(edges)] for i in gone} - set(added))
    data = Dataset.in_memory(graph, features=np.zeros((N, 1), np.float32))
    overlay = overlay_of(data, EdgeEdits(added, removed))
    seeds = np.unique(np.array(seeds))
    blocks, nodes = overlay_blocks(data, overlay, seeds, num_layers, 1)
    changed = really(graph, added, removed)
    wanted = FullNeighborSampler(changed, num_layers).sample(torch.from_numpy(seeds))
    assert len(blocks) == num_layers
    order = np.unique(nodes.numpy())
    for block, want in zip(blocks, wanted, strict=True):
        real = torch.from_numpy(order)[block.src_nodes]
        here, there = rows_of(replace(block, src_nodes=real)), rows_of(want)
        assert {v: here[v] for v in there} == there
        assert (
            dict(zip(real.tolist(), block.src_degrees().tolist(), strict=True)).items()
            <= dict(enumerate(np.diff(changed.indptr).tolist())).items()
        )


def rows_of(block) -> dict[int, list[int]]:
    """Destination to its sources, sorted."""
    src = block.src_nodes[block.indices.long()].tolist()
    ends = block.indptr.tolist()
    return {v: sorted(src[ends[i] : ends[i + 1]]) for i, v in enumerate(block.dst_nodes.tolist())}


def test_it_is_never_stored(client: InProcess):
    cached = client.resources.predictor.cache.stats().entries
    body = {"nodes": [105], "overlay": {"add_edges": [[900, 105]]}}
    first = predict(client, **body).json()
    assert predict(client, **body).json() == first
    assert client.resources.predictor.cache.stats().entries == cached
    assert predict(client, nodes=[105]).json()["predictions"][0]["source"] == "table"
    neighbors = client.get("/v1/graph/nodes/105/neighbors").json()["neighbors"]
    assert 900 not in [entry["node"] for entry in neighbors]


def test_an_overlay_of_nothing_is_the_exact_answer(client: InProcess):
    body = {"nodes": [105, 100], "include": ["embedding"]}
    empty = predict(client, overlay={}, **body).json()["predictions"]
    exact = predict(client, mode="exact", **body).json()["predictions"]
    for a, b in zip(empty, exact, strict=True):
        assert np.abs(np.array(a["embedding"]) - b["embedding"]).max() < 1e-5


def test_edges_of_types_and_weights_can_be_removed_and_not_added(tmp_path: Path):
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, N, (2, 60))
    graph = Graph.from_edges(src, dst, num_nodes=N, edge_weight=rng.random(60).astype(np.float32))
    data = Dataset.in_memory(graph, features=np.zeros((N, 1), np.float32))
    with pytest.raises(Exception, match="remove_edges"):
        overlay_of(data, EdgeEdits([(1, 2)]))
    gone = (int(src[0]), int(dst[0]))
    overlay = overlay_of(data, EdgeEdits(remove_edges=[gone]))
    [block], _ = overlay_blocks(data, overlay, np.arange(N), 1, 1)
    weights = {
        v: sorted(w for s, d, w in zip(src, dst, graph_weights(src, dst, rng), strict=True)
                  if d == v and (s, d) != gone)
        for v in range(N)
    }  # fmt: skip
    ends = block.indptr.tolist()
    for v in range(N):
        got = sorted(block.edge_weight[ends[v] : ends[v + 1]].tolist())
        assert np.allclose(got, weights[v])


def graph_weights(src: np.ndarray, dst: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The weights that the graph was made with, drawn again."""
    again = np.random.default_rng(0)
    again.integers(0, N, (2, 60))
    return again.random(60).astype(np.float32)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"overlay": {"add_edges": [[7, 105]]}}, "unknown_node"),
        ({"overlay": {"remove_edges": [[105, 105]]}}, "invalid_overlay"),
        ({"overlay": {"add_edges": [[106, 105], [106, 105]]}}, "invalid_overlay"),
        ({"overlay": {"add_edges": [[106, 105]], "remove_edges": [[106, 105]]}}, "invalid_overlay"),
        ({"overlay": {"add_edges": [[106, 105]] * 7}}, "limit_exceeded"),
        ({"overlay": {"add_edges": [[106]]}}, "invalid_request"),
        ({"overlay": {"add_edges": [[106, 105, 104]]}}, "limit_exceeded"),
        ({"overlay": {"add_edges": [[106, True]]}}, "invalid_request"),
        ({"overlay": {"add_edges": [106, 105]}}, "invalid_request"),
        ({"overlay": {"edges": []}}, "invalid_request"),
        ({"overlay": []}, "invalid_request"),
        ({"overlay": {}, "mode": "sampled"}, "invalid_overlay"),
        ({"overlay": {}, "mode": "table"}, "invalid_overlay"),
        (
            {"overlay": {}, "new_nodes": [{"id": "x", "features": [0.0] * DIM}]},
            "invalid_overlay",
        ),
    ],
)
def test_a_wrong_overlay_is_422(client: InProcess, body: dict, code: str):
    response = predict(client, nodes=[105], **body)
    assert (response.status_code, response.json()["code"]) == (422, code), response.text


def test_what_an_added_edge_would_read_counts(world: World):
    with in_process(world.settings(max_exact_edges=500)) as client:
        assert predict(client, nodes=[101], mode="exact").status_code == 200
        response = predict(client, nodes=[101], overlay={"add_edges": [[100, 101]]})
        assert response.json()["code"] == "limit_exceeded"
    assert world.data.graph.num_nodes == NUM_NODES
