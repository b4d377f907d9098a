"""The Python client against real servers: arrays, batches, second attempts, refusals."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from redisserver import free_port
from world import CLASSES, World, add_model, make_world, running

from service.client import AsyncClient, Client
from service.errors import ClientError
from service.keys import new_key

SECRET, LINE = new_key("tests", ["read", "predict"])
IDS = list(range(100, 160))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("client"))
    add_model(world.models / "value", world.data, seed=4, task="node-regression")
    return world


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    """A server with keys, a table and a small limit of ids."""
    settings = world.settings(embeddings=world.embeddings, api_keys=LINE, max_ids_per_request=20)
    with running(settings) as http:
        yield str(http.base_url)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, SECRET, batch_size=20, retries=0) as client:
        yield client


def test_long_lists_come_back_in_one_piece_and_in_order(client: Client, world: World):
    table = np.load(world.embeddings / "embeddings.npy")
    rows = client.embed(IDS)
    assert rows.dtype == np.float32
    assert np.abs(rows - table[:60]).max() < 1e-6
    assert np.abs(client.embed(np.array(IDS[::-1])) - rows[::-1]).max() == 0
    found = client.predict(IDS)
    assert found.nodes == IDS
    assert found.classes == CLASSES
    assert found.probabilities.shape == (60, 3)
    assert np.abs(found.probabilities.sum(axis=1) - 1).max() < 1e-5
    assert found.labels.tolist() == [CLASSES[i] for i in found.probabilities.argmax(axis=1)]
    assert (found.scores == found.probabilities.max(axis=1)).all()
    assert set(found.sources) == {"table"}
    assert (found.model_version, found.graph_version, found.values) == (1, 1, None)


@pytest.mark.parametrize("node", ["user001", 105])
def test_one_id_is_no_list_of_ids(client: Client, node: object):
    with pytest.raises(TypeError, match="give a list of ids"):
        client.predict(node)  # type: ignore[arg-type]  # what types would refuse is tried


def test_regression_modes_and_overlays(client: Client):
    values = client.predict(IDS[:3], model="value")
    assert values.values.shape == (3,)
    assert values.labels is values.probabilities is None
    drawn = client.embed(IDS[:3], mode="sampled", seed=5)
    assert (drawn == client.embed(IDS[:3], mode="sampled", seed=5)).all()
    assert (drawn != client.embed(IDS[:3], mode="exact")).any()
    changed = client.predict([105], overlay={"add_edges": [[900, 105]]})
    assert changed.probabilities[0].tolist() != client.predict([105]).probabilities[0].tolist()


def test_similar_graph_and_models(client: Client):
    near = client.similar(np.int64(105), k=3)
    again = client.similar(embedding=client.embed([105])[0], k=4)
    assert again.nodes == [105, *near.nodes]
    assert near.scores.dtype == np.float32
    assert client.graph()["num_nodes"] == 1500
    assert [model["name"] for model in client.models()] == ["default", "value"]
    assert client.is_ready()


def test_nothing_asked_is_nothing_answered(client: Client):
    assert client.embed([]).shape == (0, 0)
    assert client.predict([]).nodes == []


def test_a_refusal_carries_the_problem(client: Client, url: str):
    with pytest.raises(ClientError, match="not in the graph") as refused:
        client.predict([7, 105])
    assert (refused.value.status, refused.value.code) == (422, "unknown_node")
    assert refused.value.problem["unknown"] == [7]
    with Client(url, "wrong") as stranger, pytest.raises(ClientError) as refused:
        stranger.graph()
    assert refused.value.code == "unauthorized"


def test_both_clients_answer_alike(client: Client, url: str):
    async def main() -> None:
        async with AsyncClient(url, SECRET, batch_size=20) as other:
            rows, found, near = await asyncio.gather(
                other.embed(IDS), other.predict(IDS), other.similar(105)
            )
            assert (rows == client.embed(IDS)).all()
            assert (found.probabilities == client.predict(IDS).probabilities).all()
            assert near.nodes == client.similar(105).nodes
            assert await other.graph() == client.graph()
            assert await other.models() == client.models()
            assert await other.is_ready()
            with pytest.raises(ClientError, match="not in the graph"):
                await other.predict([7])

    asyncio.run(main())


def test_a_full_queue_is_waited_out(world: World):
    tight = world.settings(queue_limit=1, max_batch_cost_edges=20, cache_bytes=0)
    ids = list(range(100, 300))

    async def main(url: str) -> None:
        async with AsyncClient(url, retries=0) as hasty:
            asked = [hasty.embed(ids, mode="exact") for _ in range(12)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            refused = [a for a in answers if isinstance(a, ClientError)]
            assert {error.code for error in refused} == {"overloaded"}
        async with AsyncClient(url, retries=20) as patient:
            asked = [patient.embed(ids, mode="exact") for _ in range(3)]
            rows = await asyncio.gather(*asked)
            assert all(np.abs(r - rows[0]).max() < 1e-6 for r in rows)

    with running(tight) as http:
        asyncio.run(main(str(http.base_url)))


def test_a_server_that_is_not_there_is_asked_as_often_as_was_said():
    url, began = f"http://127.0.0.1:{free_port()}", time.monotonic()
    with Client(url, retries=2) as client:
        assert not client.is_ready()
        with pytest.raises(ClientError, match="cannot be reached") as refused:
            client.graph()
    assert (refused.value.status, refused.value.code) == (0, "unreachable")
    assert 0.6 <= time.monotonic() - began < 5


def test_what_takes_too_long_is_given_up():
    with Client("http://192.0.2.1", timeout_s=0.1, transport=Slow()) as client:
        with pytest.raises(ClientError) as refused:
            client.graph()
        assert refused.value.code == "timeout"


class Slow(httpx.BaseTransport):
    """A network on which nothing ever arrives in time."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too late", request=request)
