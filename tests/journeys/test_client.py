"""The Python client against real servers: arrays, batches, second attempts, refusals."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from redisserver import free_port
from world import CLASSES, DIM, ROOT, World, add_model, make_world, running

import gnn
import sampling
import service
from gnn import TrainConfig, build_model, save_model
from gnn.architecture import architecture_for
from gnn.recipes import recipe_for
from sampling import GraphCollection
from service.client import AsyncClient, Client, Job
from service.errors import ClientError
from service.keys import new_key

SECRET, LINE = new_key("tests", ["read", "predict"])
IDS = list(range(100, 160))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("client"))
    add_model(world.models / "value", world.data, seed=4, task="node-regression")
    many = world.data.meta.labels.model_copy(update={"kind": "multi"})
    rows = np.random.default_rng(0).integers(0, 2, (world.data.graph.num_nodes, 3), np.uint8)
    meta = world.data.meta.model_copy(update={"labels": many})
    topics = replace(world.data, meta=meta, labels=rows)
    add_model(world.models / "topics", topics, seed=5)
    add_model(
        world.models / "links", world.data, seed=6, task="link-prediction", decoder="mlp",
        head="none", d_out=1,
    )  # fmt: skip
    graphs = GraphCollection.open(ROOT / "tests" / "fixtures" / "v0.1" / "graphs")
    task = "graph-classification"
    torch.manual_seed(7)
    model = build_model(architecture_for(task, graphs, recipe_for("gin", graphs, 2, task), {}))
    save_model(world.models / "molecules", model, graphs, TrainConfig(task=task), {"test": {}})
    return world


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    """A server with keys, a table and a small limit of ids."""
    settings = world.settings(
        embeddings=world.embeddings, api_keys=LINE, max_ids_per_request=20,
        jobs=world.graph.parent / "jobs", job_part_bytes=64 * 1024,
    )  # fmt: skip
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
    assert [model["name"] for model in client.models()] == [
        "default", "links", "topics", "value", "molecules",
    ]  # fmt: skip
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


# --- what is described, left out, reported ------------------------------------------------------


def test_described_nodes_are_answered_where_they_are_named_or_last(client: Client):
    new = [
        {"id": name, "features": np.full(DIM, 0.5, np.float32), "in_edges": np.array([105, 106])}
        for name in ("x", "y")
    ]
    ids = [*range(100, 125), "y", 130]
    found = client.predict(ids, new_nodes=new)
    assert found.nodes == [*ids, "x"]
    assert found.probabilities.shape == (28, 3)
    assert np.abs(found.probabilities[25] - found.probabilities[27]).max() < 1e-6
    assert found.sources[25] == found.sources[27] == "computed"
    assert client.predict(new_nodes=new).nodes == ["x", "y"]


def test_unknown_ids_are_reported_as_rows_of_nothing(client: Client):
    found = client.predict([7, 105], on_unknown="report", include=["label", "embedding"])
    assert found.sources == ["unknown", "table"]
    assert found.labels.tolist()[0] is None
    assert found.labels.tolist()[1] in CLASSES
    assert np.isnan(found.scores).tolist() == [True, False]
    assert np.isnan(found.embeddings[0]).all()
    assert (found.embeddings[1] == client.embed([105])[0]).all()
    assert found.probabilities is None
    nothing = client.predict([7, 8], on_unknown="report")
    assert (nothing.labels, nothing.scores, nothing.probabilities) == (None, None, None)


def test_models_of_several_labels_give_all_of_them(client: Client):
    found = client.predict(IDS, model="topics")
    assert found.labels is found.scores is None
    chosen = [[CLASSES[i] for i in np.flatnonzero(row > 0.5)] for row in found.probabilities]
    assert found.label_sets == chosen
    assert len({len(labels) for labels in chosen}) > 1


# --- links, whole graphs, near nodes, what is served --------------------------------------------


def test_links_are_scored_in_batches(client: Client):
    rng = np.random.default_rng(0)
    pairs = rng.integers(100, 1600, (35, 2))
    found = client.predict_links(pairs)
    assert found.scores.shape == found.logits.shape == (35,)
    assert np.abs(found.scores - 1 / (1 + np.exp(-found.logits))).max() < 1e-6
    again = client.predict_links(pairs[::-1].tolist(), model="links", relation=[*["edge"] * 35])
    assert np.abs(again.logits[::-1] - found.logits).max() < 1e-5
    assert (found.model_version, found.graph_version) == (1, 1)
    assert client.predict_links([]).scores.shape == (0,)


def test_whole_graphs_are_predicted_in_batches(client: Client):
    rng = np.random.default_rng(0)
    graphs = [
        {"node_features": rng.normal(size=(n, 3)), "edges": rng.integers(0, n, (2 * n, 2))}
        for n in range(1, 31)
    ]
    found = client.predict_graphs(graphs, model="molecules")
    assert found.classes == ["x", "y"]
    assert found.probabilities.shape == (30, 2)
    assert found.labels.tolist() == [found.classes[i] for i in found.probabilities.argmax(axis=1)]
    rows = client.predict_graphs(graphs[::-1], model="molecules", include=["embedding"])
    assert rows.embeddings.shape[0] == 30
    assert rows.labels is rows.probabilities is rows.values is None
    again = client.predict_graphs(graphs[::-1], model="molecules", version=1)
    assert np.abs(again.probabilities[::-1] - found.probabilities).max() < 1e-5


def test_near_nodes_of_many(client: Client):
    many = client.similar_to_each(np.array(IDS), k=3)
    assert len(many) == len(IDS)
    assert many[5].nodes == client.similar(105, k=3).nodes
    assert (many[5].scores == client.similar(105, k=3, version=1).scores).all()


def test_what_is_served_is_described(client: Client):
    assert client.node(105)["node"] == 105
    assert len(client.neighbors(np.int64(100), limit=3)) == 3
    assert client.model("topics")["classes"] == CLASSES
    for name in ("..", "a/b", "x?y", "%2e"):
        with pytest.raises(ClientError) as refused:
            client.model(name)
        assert refused.value.code == "unknown_model"


# --- jobs ---------------------------------------------------------------------------------------


def test_a_job_is_submitted_waited_for_and_downloaded(client: Client, tmp_path: Path):
    seen = list[Job]()
    job = client.submit("predict", nodes=np.array(IDS * 20), include=["label", "embedding"])
    assert job.is_active
    with pytest.raises(ClientError) as refused:
        client.download(job, tmp_path)
    assert refused.value.code == "job_not_done"
    job = client.wait(job, on_progress=seen.append, poll_s=0.05)
    assert (job.state, seen[-1].state, job.error) == ("done", "done", None)
    assert job.id in [other.id for other in client.jobs(state="done")]
    paths = client.download(job.id, tmp_path / "deep" / "down")
    assert len(paths) == len(job.result["parts"]) > 1
    table = pa.concat_tables(pq.read_table(path) for path in paths)
    assert table["id"].to_pylist() == IDS * 20
    assert table["label"].to_pylist()[:60] == client.predict(IDS).labels.tolist()
    assert sorted(paths) == sorted((tmp_path / "deep" / "down").iterdir())
    assert client.cancel(job).result is None
    with pytest.raises(ClientError) as refused:
        client.download(job, tmp_path)
    assert refused.value.code == "job_expired"


def test_waiting_ends_when_it_was_said(client: Client):
    job = client.submit(include=["embedding"], format="npy")
    with pytest.raises(ClientError) as late:
        client.wait(job, timeout_s=0.0)
    assert late.value.code == "timeout"
    assert client.wait(job, poll_s=0.05).state == "done"
    with pytest.raises(ClientError) as refused:
        client.job("0" * 32)
    assert refused.value.code == "job_not_found"


def test_a_download_that_breaks_off_goes_on_where_it_was(url: str, tmp_path: Path):
    with Client(url, SECRET, retries=1, transport=Breaking(20_000)) as client:
        job = client.wait(client.submit(format="npy"), poll_s=0.05)
        parts = client.download(job, tmp_path)
        rows = np.frombuffer(b"".join(path.read_bytes() for path in parts), np.uint8)
    assert len(rows) == job.result["size_bytes"] > 4 * 20_000
    forging = Client(url, SECRET, transport=Forging())
    with forging as client, pytest.raises(ClientError) as damaged:
        client.download(job, tmp_path / "forged")
    assert damaged.value.code == "damaged"
    assert not list((tmp_path / "forged").iterdir())


def test_a_job_is_never_submitted_twice(url: str):
    with Client(url, SECRET) as client:
        before = len(client.jobs(1000))
        with Client(url, SECRET, transport=Deaf()) as deaf:
            with pytest.raises(ClientError) as lost:
                deaf.submit(nodes=[105])
            assert lost.value.code == "lost"
            with pytest.raises(ClientError, match="cannot be reached"):
                Client(url, SECRET, retries=1, transport=Deaf()).graph()
        assert len(client.jobs(1000)) == before + 1


def test_both_clients_have_the_same_methods_and_words(url: str, tmp_path: Path):
    names = {name for name in vars(Client) if not name.startswith("_")} - {"close"}
    assert names == {name for name in vars(AsyncClient) if not name.startswith("_")} - {"aclose"}
    for name in names:
        ours, theirs = (inspect.signature(getattr(kind, name)) for kind in (Client, AsyncClient))
        assert ours.parameters == theirs.parameters, name

    async def main() -> None:
        async with AsyncClient(url, SECRET, batch_size=20) as other:
            job = await other.wait(await other.submit(nodes=IDS), poll_s=0.05)
            [path] = await other.download(job, tmp_path)
            rows = np.array(pq.read_table(path)["embedding"].to_pylist())
            assert np.abs(rows - await other.embed(IDS)).max() < 1e-5
            assert (await other.predict_links([[105, 106]])).scores.shape == (1,)
            graphs = [{"node_features": [[0.0, 1.0, 0.0]]}]
            assert len((await other.predict_graphs(graphs, model="molecules")).labels) == 1
            assert len(await other.similar_to_each(IDS)) == 60
            assert (await other.job(job)).state == "done"
            assert (await other.cancel(job)).result is None

    asyncio.run(main())


def test_the_packages_say_that_they_are_typed():
    for package in (gnn, sampling, service):
        assert (Path(package.__file__).parent / "py.typed").is_file()


class Breaking(httpx.HTTPTransport):
    """A network that loses the connection after so many bytes of a file."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if "/result" in request.url.path:
            response.stream = Cut(response.stream, self.size)
        return response


class Cut(httpx.SyncByteStream):
    """The first bytes of a stream, and then an error."""

    def __init__(self, stream: httpx.SyncByteStream, size: int) -> None:
        self.stream, self.size = stream, size

    def __iter__(self) -> Iterator[bytes]:
        left = self.size
        for piece in self.stream:
            yield piece[:left]
            left -= len(piece)
            if left < 0:
                raise httpx.ReadError("the connection broke")

    def close(self) -> None:
        self.stream.close()


class Forging(httpx.HTTPTransport):
    """A network that changes what it carries."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if "/result" not in request.url.path:
            return response
        content = b"x" + response.read()[1:]
        return httpx.Response(response.status_code, content=content)


class Deaf(httpx.HTTPTransport):
    """A network that carries questions and no answers."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        super().handle_request(request).close()
        raise httpx.ReadError("the connection broke", request=request)
