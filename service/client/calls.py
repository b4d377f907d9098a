"""What can be asked, as steps; `Client` says it in words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.client.answers import (
    GraphPredictions,
    Id,
    Job,
    LinkScores,
    Neighbors,
    Predictions,
    graph_predictions_of,
    job_of,
    link_scores_of,
    neighbors_of,
    predictions_of,
    rows_of,
)
from service.client.steps import Send, Sleep, Steps, call
from service.errors import ClientError

__all__ = ["Calls", "Ids", "Mode", "OnProgress", "Pairs", "fields_of", "path_of", "vector_of"]

T = TypeVar("T")

Ids = Sequence[Id] | NDArray[Any]
Pairs = Sequence[Sequence[Id]] | NDArray[Any]
Mode = Literal["auto", "table", "exact", "sampled"]
OnProgress = Callable[[Job], object]

ARROW = "application/vnd.apache.arrow.stream"
GRAPHS_AT_ONCE = 100
NODES_AT_ONCE = 100
UNFINISHED = "the job has not ended within timeout_s; it goes on, and can be waited for again"
DAMAGED = "what was downloaded is not what the server has; download it again"


class Calls:
    """Requests of one client.

    Args:
        batch_size: ids in one request.
        retries: further attempts.
    """

    def __init__(self, batch_size: int, retries: int) -> None:
        self.batch_size, self.retries = batch_size, retries

    def get(self, path: str) -> Steps[dict[str, Any]]:
        return (yield from self._json(Send("GET", path)))

    def listed(self, path: str, name: str) -> Steps[list[dict[str, Any]]]:
        answer = yield from self.get(path)
        found: list[dict[str, Any]] = answer[name]
        return found

    def predict(
        self, nodes: Ids, new_nodes: Sequence[Mapping[str, Any]], fields: dict[str, Any]
    ) -> Steps[Predictions]:
        entries, answer = list[dict[str, Any]](), dict[str, Any]()
        for batch in self._of_nodes(_plain(nodes), [_listed(node) for node in new_nodes]):
            answer = yield from self._post("/v1/nodes/predict", {**batch, **fields})
            entries += answer["predictions"]
            fields = {**fields, "version": answer["model_version"]}
        return predictions_of(entries, answer)

    def embed(self, nodes: Ids, fields: dict[str, Any]) -> Steps[NDArray[np.float32]]:
        parts = list[NDArray[np.float32]]()
        for batch in _batches(_plain(nodes), self.batch_size):
            request = Send("POST", "/v1/nodes/embed", {"nodes": batch, **fields}, ARROW)
            response = yield from call(request, self.retries)
            rows, answered = rows_of(response.content)
            parts.append(rows)
            fields = {**fields, "version": answered}
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def predict_links(
        self, pairs: Pairs, relation: str | Sequence[str] | None, fields: dict[str, Any]
    ) -> Steps[LinkScores]:
        wanted = [_plain(pair) for pair in pairs]
        entries, answer = list[dict[str, Any]](), dict[str, Any]()
        size = max(self.batch_size // 2, 1)  # a pair may have two nodes that no other has
        for number, batch in enumerate(_batches(wanted, size)):
            if relation is not None:
                some = slice(number * size, number * size + len(batch))
                fields["relation"] = relation if isinstance(relation, str) else [*relation[some]]
            answer = yield from self._post("/v1/links/predict", {"pairs": batch, **fields})
            entries += answer["scores"]
            fields |= {"model": answer["model"], "version": answer["model_version"]}
        return link_scores_of(entries, answer)

    def predict_graphs(
        self, graphs: Sequence[Mapping[str, Any]], fields: dict[str, Any]
    ) -> Steps[GraphPredictions]:
        entries, answer = list[dict[str, Any]](), dict[str, Any]()
        for batch in _batches(graphs, min(self.batch_size, GRAPHS_AT_ONCE)):
            body = {"graphs": [_listed(graph) for graph in batch], **fields}
            answer = yield from self._post("/v1/graphs/predict", body)
            entries += answer["predictions"]
            fields = {**fields, "version": answer["model_version"]}
        return graph_predictions_of(entries, answer)

    def similar(self, node: Id | None, fields: dict[str, Any]) -> Steps[Neighbors]:
        body = fields if node is None else {"node": _plain([node])[0], **fields}
        answer = yield from self._post("/v1/nodes/similar", body)
        return neighbors_of(answer["neighbors"])

    def similar_to_each(self, nodes: Ids, fields: dict[str, Any]) -> Steps[list[Neighbors]]:
        found = list[Neighbors]()
        for batch in _batches(_plain(nodes), min(self.batch_size, NODES_AT_ONCE)):
            answer = yield from self._post("/v1/nodes/similar", {"nodes": batch, **fields})
            found += [neighbors_of(entry["neighbors"]) for entry in answer["results"]]
            fields = {**fields, "version": answer["model_version"]}
        return found

    def submit(self, nodes: Ids | None, fields: dict[str, Any]) -> Steps[Job]:
        body = fields if nodes is None else {"nodes": _plain(nodes), **fields}
        return job_of((yield from self._json(Send("POST", "/v1/jobs", body, once=True))))

    def job(self, job: Job | str, method: str = "GET") -> Steps[Job]:
        return job_of((yield from self._json(Send(method, _job_path(job)))))

    def jobs(self, limit: int, state: str | None) -> Steps[list[Job]]:
        query = f"limit={limit}" if state is None else f"limit={limit}&state={state}"
        return [job_of(found) for found in (yield from self.listed(f"/v1/jobs?{query}", "jobs"))]

    def wait(
        self, job: Job | str, on_progress: OnProgress | None, timeout_s: float | None, poll_s: float
    ) -> Steps[Job]:
        ends = float("inf") if timeout_s is None else monotonic() + timeout_s
        while True:
            found = yield from self.job(job)
            if on_progress is not None:
                on_progress(found)
            if not found.is_active:
                return found
            if monotonic() + poll_s > ends:
                raise ClientError(0, {"code": "timeout", "detail": UNFINISHED})
            yield Sleep(poll_s)

    def download(self, job: Job | str, directory: Path) -> Steps[list[Path]]:
        path = f"{_job_path(job)}/result"
        found = yield from self.job(job)
        if found.result is None:
            yield from call(Send("GET", path), self.retries)  # which says why there is none
            return (yield from self.download(job, directory))
        directory.mkdir(parents=True, exist_ok=True)
        paths = list[Path]()
        for part in found.result["parts"]:
            name = f"{found.id}-{part['part']:05d}.{found.document['format']}"
            paths.append(directory / name)
            request = f"{path}?part={part['part']}"
            yield from self._download(request, part["sha256"], paths[-1])
        return paths

    def _download(self, request: str, sha256: str, path: Path) -> Steps[None]:
        """One file, which appears under its name when it is whole."""
        unfinished = path.with_name(f".{path.name}.unfinished")
        try:
            with unfinished.open("w+b") as file:
                yield from call(Send("GET", request, accept="*/*", sink=file), self.retries)
                file.seek(0)
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    raise ClientError(0, {"code": "damaged", "detail": DAMAGED})
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def _of_nodes(self, ids: list[Id], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Bodies of ids and of the nodes that they describe, each where it is named, or last."""
        if not new:
            return [{"nodes": batch} for batch in _batches(ids, self.batch_size)]
        bodies = list[dict[str, Any]]()
        for batch in _batches(ids, self.batch_size):
            named = set(batch)
            mine = [node for node in new if node["id"] in named]
            bodies.append({"nodes": batch, "new_nodes": mine})
        named = set(ids)
        rest = [node for node in new if node["id"] not in named]
        return [*bodies, {"new_nodes": rest}] if rest else bodies

    def _post(self, path: str, body: dict[str, Any]) -> Steps[dict[str, Any]]:
        return (yield from self._json(Send("POST", path, body)))

    def _json(self, request: Send) -> Steps[dict[str, Any]]:
        response = yield from call(request, self.retries)
        answer: dict[str, Any] = response.json()
        return answer


def fields_of(**given: Any) -> dict[str, Any]:
    """The fields of a body that are given; None is what the server takes when left out."""
    return {name: value for name, value in given.items() if value is not None}


def path_of(prefix: str, name: Id) -> str:
    """A path that ends in any name."""
    if isinstance(name, np.generic):
        name = name.item()
    return f"{prefix}/{quote(str(name), safe='').replace('.', '%2E')}"


def vector_of(embedding: ArrayLike) -> list[float]:
    """A vector as JSON takes it."""
    vector: list[float] = np.asarray(embedding, np.float64).ravel().tolist()
    return vector


def _job_path(job: Job | str) -> str:
    return path_of("/v1/jobs", job.id if isinstance(job, Job) else job)


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


def _listed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A described node or graph whose arrays are lists."""
    return {name: _as_json(value) for name, value in fields.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value


def _batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
