"""What clients of a graph service ask: mostly one node, now and then many, seldom nonsense.

Popularity follows Zipf's law, as in measured web and item traffic (Breslau et al., INFOCOM 1999):
the node of rank r is asked for with a probability proportional to r^-s. Which node has which rank
is shuffled, so that popular nodes are spread over the graph. The k-th request of a kind depends on
the seed and k alone: two runs ask the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "SHARES", "Ask", "Served", "Zipf"]

SHARES: Mapping[str, float] = {
    "lookup": 0.84, "batch": 0.05, "link": 0.05, "graph": 0.035, "job": 0.005, "bad": 0.02,
}  # fmt: skip
"""Kind of request to its share of all arrivals."""
EXPONENT = 1.1
BAD_STATUSES = frozenset({400, 404, 405, 413, 415, 422})


class Zipf:
    """Draws ids by popularity.

    Args:
        first: the smallest id; they are `first … first + count - 1`.
        count: how many there are.
        seed: which of them are popular.
    """

    def __init__(self, first: int, count: int, seed: int = 0) -> None:
        weights = np.arange(1, count + 1, dtype=np.float64) ** -EXPONENT
        self._sums = np.cumsum(weights / weights.sum())
        self._ids = first + np.random.default_rng(seed).permutation(count)

    def draw(self, rng: np.random.Generator, size: int) -> list[int]:
        """Ids, popular ones often."""
        ranks = np.searchsorted(self._sums, rng.random(size), side="right")
        found: NDArray[np.int64] = self._ids[np.minimum(ranks, len(self._ids) - 1)]
        return found.tolist()


@dataclass(frozen=True, slots=True)
class Served:
    """What the server under test has.

    Attributes:
        zipf: its nodes.
        link_model: name of a model of links, or None.
        graph_model: name of a model of graphs, or None.
        graph_width: features per node that the latter reads.
    """

    zipf: Zipf
    link_model: str | None = None
    graph_model: str | None = None
    graph_width: int = 0

    def answers(self, kind: str) -> bool:
        """Whether it can be asked this."""
        wanted = {"link": self.link_model, "graph": self.graph_model}
        return wanted.get(kind, "") is not None


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, and how to tell a right answer from a wrong one."""

    method: str
    path: str
    body: bytes
    is_right: Callable[[int, bytes], bool]
    headers: Mapping[str, str]


def _post(path: str, body: Any, is_right: Callable[[int, bytes], bool]) -> Ask:
    headers = {"content-type": "application/json"}
    return Ask("POST", path, json.dumps(body).encode(), is_right, headers)


def _counts(field: str, count: int) -> Callable[[int, bytes], bool]:
    """A 200 with as many entries as were asked for."""
    return lambda status, body: status == 200 and len(json.loads(body)[field]) == count


def _lookup(served: Served, rng: np.random.Generator) -> Ask:
    nodes = served.zipf.draw(rng, 1)
    return _post("/v1/nodes/predict", {"nodes": nodes}, _counts("predictions", 1))


def _batch(served: Served, rng: np.random.Generator) -> Ask:
    nodes = served.zipf.draw(rng, int(rng.integers(100, 1001)))
    body = {"nodes": nodes, "mode": "sampled", "seed": int(rng.integers(4))}
    return _post("/v1/nodes/predict", body, _counts("predictions", len(nodes)))


def _link(served: Served, rng: np.random.Generator) -> Ask:
    ends = served.zipf.draw(rng, 20)
    pairs = [list(pair) for pair in zip(ends[:10], ends[10:], strict=True)]
    body = {"pairs": pairs, "model": served.link_model}
    return _post("/v1/links/predict", body, _counts("scores", 10))


def _graph(served: Served, rng: np.random.Generator) -> Ask:
    graphs = [_ring(int(rng.integers(5, 40)), served.graph_width, rng) for _ in range(4)]
    body = {"graphs": graphs, "model": served.graph_model}
    return _post("/v1/graphs/predict", body, _counts("predictions", 4))


def _ring(size: int, width: int, rng: np.random.Generator) -> dict[str, Any]:
    """A ring with random features."""
    rows = rng.standard_normal((size, width)).round(3).tolist()
    return {"node_features": rows, "edges": [[i, (i + 1) % size] for i in range(size)]}


def _job(served: Served, rng: np.random.Generator) -> Ask:
    """Accepted, and then followed to its result (`followed`); a full queue may refuse it."""
    body = {"kind": "predict", "nodes": served.zipf.draw(rng, 200)}
    return _post("/v1/jobs", body, lambda status, _: status in (202, 429))


def _bad(served: Served, rng: np.random.Generator) -> Ask:
    """Something that must be refused, politely."""
    path, body = BAD[int(rng.integers(len(BAD)))]
    headers = {"content-type": "application/json"}
    return Ask("POST", path, body, _is_refused, headers)


BAD = [
    ("/v1/nodes/predict", b'{"nodes": [9223372036854775807]}'),
    ("/v1/nodes/predict", b'{"nodes": "all"}'),
    ("/v1/nodes/predict", b'{"nodes": [NaN]}'),
    ("/v1/nodes/predict", b'{"nodes": [1], "mode": "fast"}'),
    ("/v1/nodes/predict", b"[" * 5000),
    ("/v1/nodes/embed", b"nodes=1"),
    ("/v1/graph", b"{}"),
    ("/v1/nowhere", b"{}"),
]


def _is_refused(status: int, body: bytes) -> bool:
    return status in BAD_STATUSES and json.loads(body)["status"] == status


KINDS: Mapping[str, Callable[[Served, np.random.Generator], Ask]] = {
    "lookup": _lookup, "batch": _batch, "link": _link, "graph": _graph, "job": _job, "bad": _bad,
}  # fmt: skip
