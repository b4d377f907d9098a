"""A client in Python: ids in, NumPy arrays out.

Long lists go out in batches, which all ask the version that answered the first, and come back in
one piece. What is refused because the server is full, starting or stopping (503), and connections
that fail, are tried again: after the time that `Retry-After` says, or else twice as long every
time, with a random part so that clients do not come back together. Nothing here changes anything,
so that asking twice does no harm.

The synchronous and the asynchronous client share everything but how they wait: a request is a
generator that yields what to do next (`_Send`, `_Sleep`) and is driven by either.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnn.errors import MissingPackageError
from service.errors import ClientError

if TYPE_CHECKING:
    import httpx

__all__ = ["AsyncClient", "Client", "Neighbors", "Predictions"]

Id = int | str
Ids = Sequence[Id] | NDArray[Any]
Mode = Literal["auto", "table", "exact", "sampled"]
T = TypeVar("T")

ARROW = "application/vnd.apache.arrow.stream"
TIMEOUT = {"code": "timeout", "detail": "no answer within timeout_s; give more, or ask for less"}
UNREACHABLE = {"detail": "the server cannot be reached; is the address right?"}
REMEDY = "install it with `pip install httpx`"
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What the model says of n nodes, in the order asked for.

    Attributes:
        nodes: their ids.
        labels: most probable classes, (n,); None of a regression.
        scores: probabilities of the labels, (n,) float32; None of a regression.
        probabilities: (n, num_classes) float32; None of a regression.
        values: (n,) or (n, d_out) float32; None of a classification.
        classes: names of the columns of `probabilities`.
        sources: what answered: table, cache or computed.
        model_version: which version answered; the last, where batches had several.
        graph_version: of which graph.
    """

    nodes: list[Id]
    labels: NDArray[Any] | None
    scores: NDArray[np.float32] | None
    probabilities: NDArray[np.float32] | None
    values: NDArray[np.float32] | None
    classes: list[str]
    sources: list[str]
    model_version: int
    graph_version: int


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """Nodes near one: ids and cosines, best first.

    Attributes:
        nodes: ids, at most k.
        scores: cosines, the same number, float32.
    """

    nodes: list[Id]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Send:
    method: str
    path: str
    body: dict[str, Any] | None = None
    accept: str = "application/json"


@dataclass(frozen=True, slots=True)
class _Sleep:
    seconds: float


Steps = Generator[_Send | _Sleep, Any, T]


class _Calls:
    """What can be asked, as steps; see `Client` for the words."""

    def __init__(self, batch_size: int, retries: int) -> None:
        self.batch_size, self.retries = batch_size, retries

    def call(self, request: _Send) -> Steps[Any]:
        """The answer of one request, tried again where that may help."""
        for attempt in range(self.retries + 1):
            response = yield request
            if response is not None and response.status_code < 400:
                return response
            may_help = response is None or response.status_code == 503
            if not may_help or attempt == self.retries:
                raise _error(response)
            yield _Sleep(_wait_s(attempt, response))
        raise AssertionError("the last attempt returns or raises")

    def get(self, path: str) -> Steps[dict[str, Any]]:
        response = yield from self.call(_Send("GET", path))
        answer: dict[str, Any] = response.json()
        return answer

    def predict(self, nodes: Ids, fields: Mapping[str, Any]) -> Steps[Predictions]:
        ids, entries, answer = _plain(nodes), list[dict[str, Any]](), dict[str, Any]()
        for batch in _batches(ids, self.batch_size):
            body = {"nodes": batch, **fields}
            response = yield from self.call(_Send("POST", "/v1/nodes/predict", body))
            answer = response.json()
            entries += answer["predictions"]
            fields = {**fields, "version": answer["model_version"]}
        return _predictions(ids, entries, answer)

    def embed(self, nodes: Ids, fields: Mapping[str, Any]) -> Steps[NDArray[np.float32]]:
        parts = list[NDArray[np.float32]]()
        for batch in _batches(_plain(nodes), self.batch_size):
            body = {"nodes": batch, **fields}
            response = yield from self.call(_Send("POST", "/v1/nodes/embed", body, ARROW))
            rows, answered = _rows(response.content)
            parts.append(rows)
            fields = {**fields, "version": answered}
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def similar(self, body: Mapping[str, Any]) -> Steps[Neighbors]:
        response = yield from self.call(_Send("POST", "/v1/nodes/similar", dict(body)))
        found = response.json()["neighbors"]
        scores = np.array([entry["score"] for entry in found], np.float32)
        return Neighbors([entry["node"] for entry in found], scores)


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
        self._calls = _Calls(batch_size, retries)
        self._http: httpx.Client = _httpx().Client(
            base_url=url, headers=_headers(api_key), timeout=timeout_s, transport=transport
        )

    def predict(
        self,
        nodes: Ids,
        *,
        model: str = "default",
        version: int | None = None,
        mode: Mode = "auto",
        seed: int = 0,
        overlay: Mapping[str, Any] | None = None,
    ) -> Predictions:
        """Labels and probabilities, or values, of these nodes.

        Args:
            nodes: ids; repeats allowed.
            model: name or alias.
            version: the newest when left out.
            mode: table, exact, sampled, or the cheapest that is fresh.
            seed: randomness of the neighbors drawn.
            overlay: edges to think away or into the graph; then all ids must fit one batch.

        Raises:
            ClientError: the server refused, or could not be reached.
        """
        return self._drive(self._calls.predict(nodes, _fields(model, version, mode, seed, overlay)))

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
        return self._drive(self._calls.embed(nodes, _fields(model, version, mode, seed)))

    def similar(
        self,
        node: Id | None = None,
        *,
        embedding: ArrayLike | None = None,
        k: int = 10,
        model: str = "default",
    ) -> Neighbors:
        """The nodes nearest to a node, or to a vector (d,); errors as `predict`."""
        return self._drive(self._calls.similar(_similar(node, embedding, k, model)))

    def graph(self) -> dict[str, Any]:
        """Name, version, counts and types of the graph."""
        return self._drive(self._calls.get("/v1/graph"))

    def models(self) -> list[dict[str, Any]]:
        """Every model with its versions."""
        listed: list[dict[str, Any]] = self._drive(self._calls.get("/v1/models"))["models"]
        return listed

    def is_ready(self) -> bool:
        """Whether the server answers."""
        response = self._send(_Send("GET", "/health/ready"))
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
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # what the exchange returns
            answer = None
            if isinstance(step, _Sleep):
                time.sleep(step.seconds)
            else:
                answer = self._send(step)

    def _send(self, step: _Send) -> httpx.Response | None:
        try:
            return self._http.request(
                step.method, step.path, json=step.body, headers={"accept": step.accept}
            )
        except _httpx().TimeoutException:
            raise ClientError(0, TIMEOUT) from None
        except _httpx().TransportError:
            return None


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
        self._calls = _Calls(batch_size, retries)
        self._http: httpx.AsyncClient = _httpx().AsyncClient(
            base_url=url, headers=_headers(api_key), timeout=timeout_s, transport=transport
        )

    async def predict(
        self,
        nodes: Ids,
        *,
        model: str = "default",
        version: int | None = None,
        mode: Mode = "auto",
        seed: int = 0,
        overlay: Mapping[str, Any] | None = None,
    ) -> Predictions:
        """As `Client.predict`."""
        fields = _fields(model, version, mode, seed, overlay)
        return await self._drive(self._calls.predict(nodes, fields))

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
        return await self._drive(self._calls.embed(nodes, _fields(model, version, mode, seed)))

    async def similar(
        self,
        node: Id | None = None,
        *,
        embedding: ArrayLike | None = None,
        k: int = 10,
        model: str = "default",
    ) -> Neighbors:
        """As `Client.similar`."""
        return await self._drive(self._calls.similar(_similar(node, embedding, k, model)))

    async def graph(self) -> dict[str, Any]:
        """As `Client.graph`."""
        return await self._drive(self._calls.get("/v1/graph"))

    async def models(self) -> list[dict[str, Any]]:
        """As `Client.models`."""
        answer = await self._drive(self._calls.get("/v1/models"))
        listed: list[dict[str, Any]] = answer["models"]
        return listed

    async def is_ready(self) -> bool:
        """As `Client.is_ready`."""
        response = await self._send(_Send("GET", "/health/ready"))
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
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # what the exchange returns
            answer = None
            if isinstance(step, _Sleep):
                await asyncio.sleep(step.seconds)
            else:
                answer = await self._send(step)

    async def _send(self, step: _Send) -> httpx.Response | None:
        try:
            return await self._http.request(
                step.method, step.path, json=step.body, headers={"accept": step.accept}
            )
        except _httpx().TimeoutException:
            raise ClientError(0, TIMEOUT) from None
        except _httpx().TransportError:
            return None


def _httpx() -> Any:
    try:
        import httpx
    except ImportError as error:
        raise MissingPackageError("httpx", error, REMEDY) from error
    return httpx


def _headers(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"authorization": f"Bearer {api_key}"}


def _fields(
    model: str, version: int | None, mode: Mode, seed: int, overlay: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    fields: dict[str, Any] = {"model": model, "version": version, "mode": mode, "seed": seed}
    return fields if overlay is None else fields | {"overlay": dict(overlay)}


def _similar(node: Id | None, embedding: ArrayLike | None, k: int, model: str) -> dict[str, Any]:
    if embedding is None:
        return {"node": None if node is None else _plain([node])[0], "k": k, "model": model}
    vector = np.asarray(embedding, np.float64).ravel().tolist()
    return {"embedding": vector, "k": k, "model": model}


def _plain(nodes: Ids) -> list[Id]:
    """Ids as JSON takes them: NumPy's numbers are none.

    Raises:
        TypeError: it is one id, and no sequence of ids.
    """
    if isinstance(nodes, str | bytes | int):
        raise TypeError(f"nodes is {nodes!r}; give a list of ids, as in [{nodes!r}]")
    if isinstance(nodes, np.ndarray):
        ids: list[Id] = nodes.tolist()
        return ids
    return [node.item() if isinstance(node, np.generic) else node for node in nodes]


def _batches(ids: list[Id], size: int) -> list[list[Id]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def _rows(stream: bytes) -> tuple[NDArray[np.float32], int]:
    """Rows of an Arrow stream, and the version that made them."""
    import pyarrow as pa

    table = pa.ipc.open_stream(stream).read_all()
    column = table["embedding"].combine_chunks()
    width = column.type.list_size
    rows: NDArray[np.float32] = column.flatten().to_numpy().reshape(len(column), width)
    return rows, int(table.schema.metadata[b"model_version"])


def _predictions(
    ids: list[Id], entries: list[dict[str, Any]], answer: dict[str, Any]
) -> Predictions:
    first = entries[0] if entries else {}

    def column(name: str, dtype: Any = np.float32) -> NDArray[Any] | None:
        return np.array([e[name] for e in entries], dtype) if name in first else None

    classes = list(first.get("probabilities", {}))
    rows = [list(e["probabilities"].values()) for e in entries] if classes else None
    return Predictions(
        ids,
        column("label", None),
        column("score"),
        None if rows is None else np.array(rows, np.float32),
        column("value"),
        classes,
        [entry["source"] for entry in entries],
        int(answer.get("model_version", 0)),
        int(answer.get("graph_version", 0)),
    )


def _wait_s(attempt: int, response: httpx.Response | None) -> float:
    """Seconds before the next attempt."""
    said = "" if response is None else response.headers.get("retry-after", "")
    least = float(said) if said.isascii() and said.isdigit() else FIRST_WAIT_S * 2**attempt
    return min(least, LONGEST_WAIT_S) * (1 + random.random() / 4)  # noqa: S311 - no secret


def _error(response: httpx.Response | None) -> ClientError:
    if response is None:
        return ClientError(0, UNREACHABLE)
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    return ClientError(response.status_code, problem if isinstance(problem, dict) else {})
