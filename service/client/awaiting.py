"""The client for asyncio."""

from __future__ import annotations

import asyncio
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

__all__ = ["AsyncClient"]

T = TypeVar("T")


class AsyncClient:
    """The same for asyncio: every method of `Client`, to be awaited."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 5,
        batch_size: int = 5000,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._calls = Calls(batch_size, retries)
        self._http: httpx.AsyncClient = httpx_module().AsyncClient(
            base_url=url, headers=client_headers(api_key), timeout=timeout_s, transport=transport
        )

    async def predict(
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
        """As `Client.predict`."""
        fields = fields_of(
            model=model, version=version, mode=mode, seed=seed, include=include,
            on_unknown=on_unknown, overlay=overlay,
        )  # fmt: skip
        return await self._drive(self._calls.predict(nodes, new_nodes, fields))

    async def embed(
        self,
        nodes: Ids,
        *,
        model: str = "default",
        version: int | None = None,
        mode: Mode = "auto",
        seed: int = 0,
    ) -> NDArray[np.float32]:
        """As `Client.embed`."""
        fields = fields_of(model=model, version=version, mode=mode, seed=seed)
        return await self._drive(self._calls.embed(nodes, fields))

    async def predict_links(
        self,
        pairs: Pairs,
        *,
        model: str | None = None,
        version: int | None = None,
        mode: Literal["auto", "table", "exact"] = "auto",
        relation: str | Sequence[str] | None = None,
    ) -> LinkScores:
        """As `Client.predict_links`."""
        fields = fields_of(model=model, version=version, mode=mode)
        return await self._drive(self._calls.predict_links(pairs, relation, fields))

    async def predict_graphs(
        self,
        graphs: Sequence[Mapping[str, Any]],
        *,
        model: str = "default",
        version: int | None = None,
        include: Sequence[str] | None = None,
    ) -> GraphPredictions:
        """As `Client.predict_graphs`."""
        fields = fields_of(model=model, version=version, include=include)
        return await self._drive(self._calls.predict_graphs(graphs, fields))

    async def similar(
        self,
        node: Id | None = None,
        *,
        embedding: ArrayLike | None = None,
        k: int = 10,
        model: str = "default",
        version: int | None = None,
    ) -> Neighbors:
        """As `Client.similar`."""
        vector = None if embedding is None else vector_of(embedding)
        fields = fields_of(embedding=vector, k=k, model=model, version=version)
        return await self._drive(self._calls.similar(node, fields))

    async def similar_to_each(
        self, nodes: Ids, *, k: int = 10, model: str = "default", version: int | None = None
    ) -> list[Neighbors]:
        """As `Client.similar_to_each`."""
        fields = fields_of(k=k, model=model, version=version)
        return await self._drive(self._calls.similar_to_each(nodes, fields))

    async def submit(
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
        """As `Client.submit`."""
        fields = fields_of(
            kind=kind, model=model, version=version, include=include, format=format,
            publish=publish,
        )  # fmt: skip
        return await self._drive(self._calls.submit(nodes, fields))

    async def wait(
        self,
        job: Job | str,
        *,
        on_progress: OnProgress | None = None,
        timeout_s: float | None = None,
        poll_s: float = 0.5,
    ) -> Job:
        """As `Client.wait`."""
        return await self._drive(self._calls.wait(job, on_progress, timeout_s, poll_s))

    async def download(self, job: Job | str, directory: str | Path) -> list[Path]:
        """As `Client.download`."""
        return await self._drive(self._calls.download(job, Path(directory)))

    async def cancel(self, job: Job | str) -> Job:
        """As `Client.cancel`."""
        return await self._drive(self._calls.job(job, "DELETE"))

    async def job(self, job: Job | str) -> Job:
        """As `Client.job`."""
        return await self._drive(self._calls.job(job))

    async def jobs(self, limit: int = 100, state: str | None = None) -> list[Job]:
        """As `Client.jobs`."""
        return await self._drive(self._calls.jobs(limit, state))

    async def graph(self) -> dict[str, Any]:
        """As `Client.graph`."""
        return await self._drive(self._calls.get("/v1/graph"))

    async def node(self, node: Id) -> dict[str, Any]:
        """As `Client.node`."""
        return await self._drive(self._calls.get(path_of("/v1/graph/nodes", node)))

    async def neighbors(self, node: Id, limit: int = 100) -> list[dict[str, Any]]:
        """As `Client.neighbors`."""
        path = f"{path_of('/v1/graph/nodes', node)}/neighbors?limit={limit}"
        return await self._drive(self._calls.listed(path, "neighbors"))

    async def models(self) -> list[dict[str, Any]]:
        """As `Client.models`."""
        return await self._drive(self._calls.listed("/v1/models", "models"))

    async def model(self, name: str) -> dict[str, Any]:
        """As `Client.model`."""
        return await self._drive(self._calls.get(path_of("/v1/models", name)))

    async def is_ready(self) -> bool:
        """As `Client.is_ready`."""
        response = await self._send(Send("GET", "/health/ready"))
        return response is not None and response.status_code == 200

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _drive(self, steps: Steps[T]) -> T:
        answer = None
        with closing(steps):
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]  # what the exchange returns
                answer = None
                if isinstance(step, Sleep):
                    await asyncio.sleep(step.seconds)
                else:
                    answer = await self._send(step)

    async def _send(self, step: Send) -> httpx.Response | None:
        try:
            return await self._exchange(step)
        except httpx_module().TransportError as error:
            check_lost(step, error)
            return None

    async def _exchange(self, step: Send) -> httpx.Response:
        response = await self._http.send(request_of(self._http, step), stream=True)
        try:
            if step.sink is None or response.status_code >= 400:
                await response.aread()
            else:
                async for piece in response.aiter_bytes():
                    step.sink.write(piece)
        finally:
            await response.aclose()
        return response
