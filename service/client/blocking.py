"""The client that waits: what can be asked, in words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.client.answers import GraphPredictions, Id, Job, LinkScores, Neighbors, Predictions
from service.client.calls import Calls, Ids, Mode, OnProgress, Pairs, fields_of, path_of, vector_of
from service.client.steps import (
    Send,
    Sleep,
    Steps,
    check_lost,
    client_headers,
    httpx_module,
    request_of,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """A client that waits. Use as a context manager, or close it.

    Args:
        url: address of the server, as in `http://127.0.0.1:8000`.
        api_key: sent with every request.
        timeout_s: seconds until a request is given up.
        retries: further attempts.
        batch_size: ids in one request; the server allows 10,000.
        transport: an httpx transport, as for a Unix socket.

    Raises:
        MissingPackageError: httpx is not installed.

    Example:
        with Client("http://127.0.0.1:8000") as client:
            print(client.predict([17, 42]).labels, client.embed([17, 42]).shape)
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 5,
        batch_size: int = 5000,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._calls = Calls(batch_size, retries)
        self._http: httpx.Client = httpx_module().Client(
            base_url=url, headers=client_headers(api_key), timeout=timeout_s, transport=transport
        )

    def predict(
        self,
        nodes: Ids = (),
        *,
        model: str = "default",
        version: int | None = None,
        mode: Mode = "auto",
        seed: int = 0,
        include: Sequence[str] | None = None,
        on_unknown: Literal["error", "report"] = "error",
        new_nodes: Sequence[Mapping[str, Any]] = (),
        overlay: Mapping[str, Any] | None = None,
    ) -> Predictions:
        """Labels and probabilities, or values, of these nodes.

        Args:
            nodes: ids; repeats allowed.
            model: name or alias.
            version: the newest when left out.
            mode: table, exact, sampled, or the cheapest that is fresh.
            seed: randomness of the neighbors drawn.
            include: label, probabilities, prediction_set, embedding; the first two when left out.
            on_unknown: refuse, or answer the rest and say `unknown` in `sources`.
            new_nodes: `id`, `features` (d,) and `in_edges` of nodes that the graph does not have;
                answered where `nodes` names them, or last.
            overlay: edges to think away or into the graph.

        Raises:
            ClientError: the server refused, or could not be reached.
        """
        fields = fields_of(
            model=model, version=version, mode=mode, seed=seed, include=include,
            on_unknown=on_unknown, overlay=overlay,
        )  # fmt: skip
        return self._drive(self._calls.predict(nodes, new_nodes, fields))

    def embed(
        self,
        nodes: Ids,
        *,
        model: str = "default",
        version: int | None = None,
        mode: Mode = "auto",
        seed: int = 0,
    ) -> NDArray[np.float32]:
        """Embeddings of these nodes, (n, d) float32; arguments and errors as `predict`."""
        fields = fields_of(model=model, version=version, mode=mode, seed=seed)
        return self._drive(self._calls.embed(nodes, fields))

    def predict_links(
        self,
        pairs: Pairs,
        *,
        model: str | None = None,
        version: int | None = None,
        mode: Literal["auto", "table", "exact"] = "auto",
        relation: str | Sequence[str] | None = None,
    ) -> LinkScores:
        """How likely edges are.

        Args:
            pairs: of ids, source first, (n, 2).
            model: name or alias; the only model of links when left out.
            version: the newest when left out.
            mode: table, exact, or the table while it is fresh.
            relation: edge type of all pairs, or one for each.

        Raises:
            ClientError: the server refused, or could not be reached.
        """
        fields = fields_of(model=model, version=version, mode=mode)
        return self._drive(self._calls.predict_links(pairs, relation, fields))

    def predict_graphs(
        self,
        graphs: Sequence[Mapping[str, Any]],
        *,
        model: str = "default",
        version: int | None = None,
        include: Sequence[str] | None = None,
    ) -> GraphPredictions:
        """Labels and probabilities, or values, of whole graphs.

        Args:
            graphs: of each, `node_features` (n, d), and `edges` (m, 2) between nodes 0 to n - 1;
                `edge_features` (m, d) and `positions` (n, 3) where the model reads them.
            model: name or alias of a model for graphs.
            version: the newest when left out.
            include: label, probabilities, embedding; the first two when left out.

        Raises:
            ClientError: the server refused, or could not be reached.
        """
        fields = fields_of(model=model, version=version, include=include)
        return self._drive(self._calls.predict_graphs(graphs, fields))

    def similar(
        self,
        node: Id | None = None,
        *,
        embedding: ArrayLike | None = None,
        k: int = 10,
        model: str = "default",
        version: int | None = None,
    ) -> Neighbors:
        """The nodes nearest to a node, or to a vector (d,); errors as `predict`."""
        vector = None if embedding is None else vector_of(embedding)
        fields = fields_of(embedding=vector, k=k, model=model, version=version)
        return self._drive(self._calls.similar(node, fields))

    def similar_to_each(
        self, nodes: Ids, *, k: int = 10, model: str = "default", version: int | None = None
    ) -> list[Neighbors]:
        """The nodes nearest to each of several; errors as `predict`."""
        fields = fields_of(k=k, model=model, version=version)
        return self._drive(self._calls.similar_to_each(nodes, fields))

    def submit(
        self,
        kind: Literal["embed", "predict"] = "embed",
        *,
        nodes: Ids | None = None,
        model: str = "default",
        version: int | None = None,
        include: Sequence[str] | None = None,
        format: Literal["parquet", "npy"] = "parquet",  # noqa: A002 - the name on the wire
        publish: bool = False,
    ) -> Job:
        """Have many nodes embedded or predicted in the background.

        Args:
            kind: what `include` is when left out.
            nodes: ids; every node when left out.
            model: name or alias.
            version: the newest when left out.
            include: embedding, label, probabilities, prediction_set.
            format: of the result; `npy` is the bare embeddings of every node.
            publish: serve the table when it is finished.

        Raises:
            ClientError: the server refused, or could not be reached; `lost` where it cannot be
                told whether the job was made.
        """
        fields = fields_of(
            kind=kind, model=model, version=version, include=include, format=format,
            publish=publish,
        )  # fmt: skip
        return self._drive(self._calls.submit(nodes, fields))

    def wait(
        self,
        job: Job | str,
        *,
        on_progress: OnProgress | None = None,
        timeout_s: float | None = None,
        poll_s: float = 0.5,
    ) -> Job:
        """The job when it is done, failed or canceled.

        Args:
            job: it, or its id.
            on_progress: called with the job at every look.
            timeout_s: seconds until the waiting is given up; the job goes on.
            poll_s: seconds between two looks.

        Raises:
            ClientError: the server refused, could not be reached, or `timeout_s` is over.
        """
        return self._drive(self._calls.wait(job, on_progress, timeout_s, poll_s))

    def download(self, job: Job | str, directory: str | Path) -> list[Path]:
        """The files of a job that is done, whole and checked; what breaks off goes on.

        Args:
            job: it, or its id.
            directory: where they go, under the id of the job; made where it is not there.

        Raises:
            ClientError: there is no result, or it cannot be had.
        """
        return self._drive(self._calls.download(job, Path(directory)))

    def cancel(self, job: Job | str) -> Job:
        """Cancel a job that waits or runs; discard the result of one that has ended."""
        return self._drive(self._calls.job(job, "DELETE"))

    def job(self, job: Job | str) -> Job:
        """State, progress, error and result of a job."""
        return self._drive(self._calls.job(job))

    def jobs(self, limit: int = 100, state: str | None = None) -> list[Job]:
        """The newest jobs, all or those of one state."""
        return self._drive(self._calls.jobs(limit, state))

    def graph(self) -> dict[str, Any]:
        """Name, version, counts and types of the graph."""
        return self._drive(self._calls.get("/v1/graph"))

    def node(self, node: Id) -> dict[str, Any]:
        """Features, label, type and in-degree of a node."""
        return self._drive(self._calls.get(path_of("/v1/graph/nodes", node)))

    def neighbors(self, node: Id, limit: int = 100) -> list[dict[str, Any]]:
        """Nodes that point to one, with type, weight and time of the edge."""
        path = f"{path_of('/v1/graph/nodes', node)}/neighbors?limit={limit}"
        return self._drive(self._calls.listed(path, "neighbors"))

    def models(self) -> list[dict[str, Any]]:
        """Every model with its versions."""
        return self._drive(self._calls.listed("/v1/models", "models"))

    def model(self, name: str) -> dict[str, Any]:
        """Task, classes, metrics, card and configuration of a model."""
        return self._drive(self._calls.get(path_of("/v1/models", name)))

    def is_ready(self) -> bool:
        """Whether the server answers."""
        response = self._send(Send("GET", "/health/ready"))
        return response is not None and response.status_code == 200

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _drive(self, steps: Steps[T]) -> T:
        answer = None
        with closing(steps):
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]  # what the exchange returns
                answer = None
                if isinstance(step, Sleep):
                    time.sleep(step.seconds)
                else:
                    answer = self._send(step)

    def _send(self, step: Send) -> httpx.Response | None:
        try:
            return self._exchange(step)
        except httpx_module().TransportError as error:
            check_lost(step, error)
            return None

    def _exchange(self, step: Send) -> httpx.Response:
        response = self._http.send(request_of(self._http, step), stream=True)
        try:
            if step.sink is None or response.status_code >= 400:
                response.read()
            else:
                for piece in response.iter_bytes():
                    step.sink.write(piece)
        finally:
            response.close()
        return response
