"""Scores of pairs: those of the evaluation, by every road; other models are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from world import NUM_NODES, World, add_model, make_world, running

from gnn import embed, load_model
from gnn.inputs import with_inputs
from gnn.layerwise import infer
from gnn.link_evaluate import score_links
from gnn.link_split import Links
from service.cli import app as cli
from service.errors import RequestError, WrongTaskError
from service.links import LinkQuery, default_for_links, predict_links
from service.predictor import Predictor, open_predictor

PAIRS = [[100, 101], [101, 100], [103, 100], [100, 101], [700, 700]]


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world with a link model, whose table is there, beside the default one."""
    world = make_world(tmp_path_factory.mktemp("links"), num_edges=4000)
    saved = add_model(
        world.models / "links", world.data, seed=5, task="link-prediction",
        decoder="mlp", head="none", d_out=1,
    )  # fmt: skip
    for _ in embed(load_model(saved), world.data, world.graph.parent / "link_rows"):
        pass
    return world


@pytest.fixture(scope="module")
def client(linked: World) -> Iterator[httpx.Client]:
    with running(linked.settings(max_ids_per_request=10)) as client:
        yield client


def opened(world: World, *, table: bool = False) -> Predictor:
    rows = world.graph.parent / "link_rows" if table else None
    return open_predictor(world.graph, world.models, rows, world.settings(embeddings=rows))


def logits(answer: dict[str, object]) -> list[float]:
    return [entry["logit"] for entry in answer["scores"]]  # type: ignore[attr-defined]


def evaluated(world: World, pairs: list[list[int]]) -> np.ndarray:
    """What the evaluation scores: exact embeddings of the whole graph, then the decoder."""
    model = load_model(world.models / "links").model
    ends = np.array(pairs) - 100
    with torch.no_grad():
        h = infer(model, with_inputs(world.data, model.config))
        return score_links(model, h, Links(ends[:, 0], ends[:, 1])).numpy()


@pytest.mark.parametrize(
    ("mode", "table"),
    [("auto", False), ("auto", True), ("exact", False), ("exact", True), ("table", True)],
)
def test_scores_are_those_of_the_evaluation(linked: World, table: bool, mode: str):
    answer = predict_links(opened(linked, table=table), LinkQuery(PAIRS, "links", mode=mode))
    assert [entry["pair"] for entry in answer["scores"]] == PAIRS
    np.testing.assert_allclose(logits(answer), evaluated(linked, PAIRS), atol=1e-5)
    for entry in answer["scores"]:
        assert entry["score"] == pytest.approx(1 / (1 + np.exp(-entry["logit"])))
    assert logits(answer)[0] == logits(answer)[3] != logits(answer)[1]


def test_company_changes_no_score(linked: World):
    rng = np.random.default_rng(0)
    many = rng.integers(100, 100 + NUM_NODES, (600, 2)).tolist()
    alone = predict_links(opened(linked), LinkQuery(PAIRS, "links"))
    together = predict_links(opened(linked), LinkQuery([*PAIRS, *many], "links"))
    np.testing.assert_allclose(logits(alone), logits(together)[: len(PAIRS)], atol=1e-5)


def test_rest_and_command_line_give_the_same(linked: World, client: httpx.Client):
    expected = logits(predict_links(opened(linked), LinkQuery(PAIRS, "links")))
    reply = client.post("/v1/links/predict", json={"pairs": PAIRS, "model": "links"})
    assert reply.status_code == 200
    assert (reply.json()["model"], reply.json()["model_version"]) == ("links", 1)
    assert logits(reply.json()) == pytest.approx(expected, abs=1e-5)
    text = ",".join(f"{a}:{b}" for a, b in PAIRS)
    done = CliRunner().invoke(
        cli, ["predict", str(linked.graph), str(linked.models / "links"), "--pairs", text, "--json"]
    )
    assert done.exit_code == 0, done.output
    assert logits(json.loads(done.stdout.splitlines()[-1])) == pytest.approx(expected, abs=1e-5)


def test_the_inference_protocol_gives_the_rows_that_are_scored(client: httpx.Client):
    [output] = client.get("/v2/models/links").json()["outputs"]
    rows = client.post("/v1/nodes/embed", json={"nodes": [100, 107], "model": "links"}).json()
    expected = np.array(rows["embeddings"])
    assert output == {"name": "embedding", "datatype": "FP32", "shape": [-1, expected.shape[1]]}
    nodes = {"name": "nodes", "shape": [2], "datatype": "INT64", "data": [100, 107]}
    asked, path = {"inputs": [nodes]}, "/v2/models/links/infer"
    [given] = client.post(path, json=asked).json()["outputs"]
    assert given["name"] == "embedding"
    np.testing.assert_allclose(np.reshape(given["data"], given["shape"]), expected, atol=1e-5)
    asked["outputs"] = [{"name": "value"}]
    refused = client.post(path, json=asked)
    assert refused.status_code == 400
    assert refused.json()["error"].endswith("it has embedding")


REFUSED = [
    ({"pairs": [[100, 7]]}, 422, "unknown_node"),
    ({"pairs": [[100]]}, 422, "invalid_request"),
    ({"pairs": [[100, 101, 102]]}, 422, "limit_exceeded"),
    ({"pairs": [[100, 101.5]]}, 422, "invalid_request"),
    ({"pairs": [[100, 101]], "mode": "sampled"}, 422, "invalid_request"),
    ({"pairs": [[100, 101]], "mode": "table"}, 409, "no_table"),
    ({"pairs": [[100, 101]], "relation": "likes"}, 422, "invalid_request"),
    ({"pairs": [[100, 101]], "relation": ["edge", "edge"]}, 422, "invalid_request"),
    ({"pairs": [[100, 101]], "model": "default"}, 422, "wrong_task"),
    ({"pairs": [[100, 101]], "model": "nobody"}, 404, "unknown_model"),
    ({"pairs": [[100, 101]] * 11}, 422, "limit_exceeded"),
    ({"pairs": [[100 + i, 110 + i] for i in range(6)]}, 422, "limit_exceeded"),
]


@pytest.mark.parametrize(("body", "status", "code"), REFUSED)
def test_a_wrong_request_is_refused(client: httpx.Client, body: dict, status: int, code: str):
    reply = client.post("/v1/links/predict", json={"model": "links", **body})
    assert (reply.status_code, reply.json()["code"]) == (status, code)


def test_without_a_name_the_only_model_that_scores_links_answers(client: httpx.Client):
    reply = client.post("/v1/links/predict", json={"pairs": PAIRS})
    named = client.post("/v1/links/predict", json={"pairs": PAIRS, "model": "links"})
    assert reply.status_code == 200, reply.text
    assert reply.json() == named.json()


def test_of_two_models_that_score_links_none_is_chosen(linked: World, tmp_path: Path):
    world = make_world(tmp_path, num_edges=500)
    for name in ("one", "two"):
        add_model(world.models / name, world.data, seed=5, task="link-prediction",
                  decoder="mlp", head="none", d_out=1)  # fmt: skip
    assert default_for_links(opened(linked).registry) == "links"
    assert default_for_links(opened(world).registry) == "default"


def test_no_pairs_have_no_scores(client: httpx.Client):
    reply = client.post("/v1/links/predict", json={"pairs": [], "model": "links"})
    assert reply.json()["scores"] == []


def test_models_answer_for_their_own_task_alone(linked: World):
    predictor = opened(linked, table=True)
    with pytest.raises(WrongTaskError, match="trained for node-classification"):
        predict_links(predictor, LinkQuery(PAIRS))
    with pytest.raises(WrongTaskError, match="trained for link-prediction"):
        predictor.predict([100], "links")
    [entry] = predictor.predict([100], "links", include=["embedding"]).predictions
    assert len(entry["embedding"]) == 16


def test_relations_are_asked_for_by_name(tmp_path: Path):
    from dataclasses import replace

    from sampling import GraphStore

    world = make_world(tmp_path, num_edges=2000)
    types = (world.data.graph.indices % 2).astype(np.int16)
    graph = world.data.graph
    order = np.concatenate([
        row + np.argsort(types[row : row + size], kind="stable")
        for row, size in zip(graph.indptr[:-1], graph.in_degrees(), strict=True)
    ])  # fmt: skip
    typed = replace(graph, indices=graph.indices[order].copy(), edge_type=types[order],
                    edge_types=("likes", "sees"))  # fmt: skip
    meta = world.data.meta.model_copy(update={"edge_types": ["likes", "sees"]})
    data = replace(world.data, graph=typed, meta=meta)
    GraphStore.write(tmp_path / "typed", data)
    data = GraphStore.open(tmp_path / "typed")
    add_model(tmp_path / "m" / "links", data, seed=1, task="link-prediction", decoder="distmult",
              head="none", num_relations=2)  # fmt: skip
    settings = replace(world, graph=tmp_path / "typed", models=tmp_path / "m").settings()
    predictor = open_predictor(tmp_path / "typed", tmp_path / "m", None, settings)
    one, other = (
        logits(predict_links(predictor, LinkQuery(PAIRS, "links", relation=name)))
        for name in ("likes", "sees")
    )
    each = ["likes", "sees", "likes", "sees", "likes"]
    mixed = logits(predict_links(predictor, LinkQuery(PAIRS, "links", relation=each)))
    assert mixed == [one[0], other[1], one[2], other[3], one[4]]
    assert one != other
    for relation, message in ((None, "give a relation, one of"), ("hates", "no relation 'hates'")):
        with pytest.raises(RequestError, match=message):
            predict_links(predictor, LinkQuery(PAIRS, "links", relation=relation))


@pytest.mark.parametrize("text", ["100", "100:101:102", "100:", "100-101"])
def test_what_is_no_pair_is_said(linked: World, text: str):
    done = CliRunner().invoke(
        cli, ["predict", str(linked.graph), str(linked.models / "links"), "--pairs", text]
    )
    assert done.exit_code != 0
    assert "is not a pair" in str(done.exception) + done.output
