"""Knows every right answer beforehand, and says of each that comes whether it is one.

Rows are computed here by model and sampler alone, without a line of the service: all nodes with
all neighbors, and with the neighbors that a few seeds draw. So are scores of pairs, embeddings of
whole graphs, and cosines, where the world has models for them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from faults.client import Answer
from faults.worlds import FIRST_ID, World
from numpy.typing import NDArray

from gnn import load_model
from sampling import FullNeighborSampler, Graph, NeighborSampler

__all__ = ["Oracle", "Question"]

SEEDS = 4
TOLERANCE = 1e-5
LOOSE = 1e-4
"""Of scores, which are made of many products of rows."""
NEAREST = 5
GRAPHS = 16

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and what its answer must hold.

    Attributes:
        path: of the POST.
        body: JSON.
        ids: nodes, or pairs of them, in their order.
        rows: that belong to them; of similar nodes the cosine with every node.
        needs_table: without a fresh table it is refused.
    """

    path: str
    body: bytes
    ids: list[Any]
    rows: Rows
    needs_table: bool = False


class Oracle:
    """The rows of every node of a world, exact and by seed.

    Args:
        world: whose default model is asked; its models `links` and `shapes` too, if it has them.
        mode: "mixed": sampled, exact and auto; "tables": what a fresh table answers as well;
            "exact".
    """

    def __init__(self, world: World, mode: str = "mixed") -> None:
        graph, x = world.data.graph, world.data.features
        assert x is not None
        self.mode, self.num_nodes = mode, graph.num_nodes
        model, nodes = load_model(world.models / "default").model, torch.arange(graph.num_nodes)
        full = FullNeighborSampler(graph, 2).sample(nodes)
        sampler = NeighborSampler(graph, [4, 3])
        drawn = [sampler.sample(nodes, seed=seed) for seed in range(SEEDS)]
        with torch.no_grad():
            rows = [model.encode(b, x.gather(b[0].src_nodes)).numpy() for b in (full, *drawn)]
        self.exact, self.sampled = rows[0], rows[1:]
        self._directions = self.exact / np.linalg.norm(self.exact, axis=1, keepdims=True)
        self._of_links = self._of_graphs = None
        if (world.models / "links").is_dir():
            self._of_links = load_model(world.models / "links").model
            with torch.no_grad():
                self._ends = self._of_links.encode(full, x.gather(full[0].src_nodes))
        if (world.models / "shapes").is_dir():
            self._of_graphs = [_graph_question(world, number) for number in range(GRAPHS)]

    def question(self, number: int, ids: int | None = None) -> Question:
        """The request of this number: mostly few nodes, seldom many, of all modes and doors.

        Args:
            number: seeds all else.
            ids: how many nodes are asked about, where that is not for the number to say.
        """
        rng = np.random.default_rng(number)
        kind = rng.integers(20) if ids is None else 0
        if kind == 19 and self._of_links is not None:
            return self._pairs(rng)
        if kind == 18 and self._of_graphs is not None:
            return self._of_graphs[number % GRAPHS]
        if kind >= 16 and self.mode == "tables":
            return self._similar(int(rng.integers(self.num_nodes)))
        return self._nodes(rng, int(rng.choice([1, 1, 1, 10, 200])) if ids is None else ids)

    def _nodes(self, rng: np.random.Generator, size: int) -> Question:
        nodes = rng.integers(self.num_nodes, size=size)
        seed, embeds = int(rng.integers(SEEDS)), rng.integers(2)
        modes = {"mixed": ["exact", "sampled", "auto"], "exact": ["exact"]}
        mode = str(rng.choice(modes.get(self.mode, ["exact", "sampled", "auto", "table"])))
        body = {"nodes": (nodes + FIRST_ID).tolist(), "seed": seed, "mode": mode}
        if not embeds:
            body["include"] = ["embedding"]
        path = "/v1/nodes/embed" if embeds else "/v1/nodes/predict"
        rows = (self.sampled[seed] if mode == "sampled" else self.exact)[nodes]
        return Question(path, json.dumps(body).encode(), body["nodes"], rows, mode == "table")

    def _pairs(self, rng: np.random.Generator) -> Question:
        pairs = rng.integers(self.num_nodes, size=(int(rng.choice([1, 20])), 2))
        assert self._of_links is not None
        with torch.no_grad():
            logits = self._of_links.score(self._ends, torch.from_numpy(pairs).T, None)
        body = {"pairs": (pairs + FIRST_ID).tolist(), "model": "links"}
        rows = logits.numpy().reshape(-1, 1)
        return Question("/v1/links/predict", json.dumps(body).encode(), body["pairs"], rows)

    def _similar(self, node: int) -> Question:
        body = {"node": node + FIRST_ID, "k": NEAREST}
        cosines = self._directions @ self._directions[node]
        path = "/v1/nodes/similar"
        return Question(path, json.dumps(body).encode(), [node], cosines, needs_table=True)

    def is_right(self, question: Question, answer: Answer) -> bool:
        """Whether a 200 holds exactly the rows asked for, in their order."""
        content = answer.json()
        if question.path.endswith("similar"):
            return _is_nearest(question, content["neighbors"])
        ids, got = question.ids, content.get("embeddings")
        if question.path == "/v1/nodes/predict":
            ids = [entry["node"] for entry in content["predictions"]]
        elif question.path == "/v1/links/predict":
            ids = [entry["pair"] for entry in content["scores"]]
            got = [[entry["logit"]] for entry in content["scores"]]
        if got is None:
            got = [entry["embedding"] for entry in content["predictions"]]
        if ids != question.ids:
            return False
        rows = np.array(got, dtype=np.float64)
        tolerance = LOOSE if question.path == "/v1/links/predict" else TOLERANCE
        return (
            rows.shape == question.rows.shape
            and bool(np.isfinite(rows).all())
            and bool(np.abs(rows - question.rows).max() < tolerance)
        )


def _is_nearest(question: Question, entries: list[dict[str, Any]]) -> bool:
    """Whether these are nodes with the largest cosines, each with its own, best first."""
    nodes = np.array([entry["node"] for entry in entries]) - FIRST_ID
    scores = np.array([entry["score"] for entry in entries])
    others = np.delete(question.rows, question.ids[0])
    best = np.sort(others)[::-1][:NEAREST]
    return (
        scores.shape == best.shape
        and len(set(nodes.tolist()) - set(question.ids)) == NEAREST
        and bool(np.abs(scores - best).max() < LOOSE)
        and bool(np.abs(scores - question.rows[nodes]).max() < LOOSE)
    )


def _graph_question(world: World, number: int) -> Question:
    """A small graph of its own."""
    rng, model = np.random.default_rng(number), load_model(world.models / "shapes").model
    size = int(rng.integers(2, 30))
    rows = rng.normal(size=(size, model.config.d_in)).round(3).astype(np.float32)
    src, dst = rng.integers(0, size, (2, 3 * size))
    offsets = torch.tensor([0, size])
    block = replace(Graph.from_edges(src, dst, num_nodes=size).block(), graph_offsets=offsets)
    with torch.no_grad():
        wanted = model.encode_graphs(block, torch.from_numpy(rows)).numpy()
    sent = {"node_features": rows.tolist(), "edges": np.stack([src, dst], 1).tolist()}
    body = {"graphs": [sent], "model": "shapes", "include": ["embedding"]}
    return Question("/v1/graphs/predict", json.dumps(body).encode(), [], wanted)
