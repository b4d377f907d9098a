"""Knows every right answer beforehand, and says of each that comes whether it is one.

Rows are computed here by model and sampler alone, without a line of the service: all nodes with
all neighbors, and with the neighbors that a few seeds draw.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import torch
from faults.client import Answer
from faults.worlds import FIRST_ID, World
from numpy.typing import NDArray

from gnn import load_model
from sampling import FullNeighborSampler, NeighborSampler

__all__ = ["Oracle", "Question"]

SEEDS = 4
TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and the nodes and rows that its answer must hold."""

    path: str
    body: bytes
    ids: list[int]
    rows: NDArray[np.float32]


class Oracle:
    """The rows of every node of a world, exact and by seed.

    Args:
        world: whose default model is asked.
        mode: "mixed", or the one mode that is asked for.
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

    def question(self, number: int, ids: int | None = None) -> Question:
        """The request of this number: mostly few nodes, seldom many, of both modes and doors.

        Args:
            number: seeds all else.
            ids: how many nodes, where that is not for the number to say.
        """
        rng = np.random.default_rng(number)
        size = int(rng.choice([1, 1, 1, 10, 200])) if ids is None else ids
        nodes = rng.integers(self.num_nodes, size=size)
        seed, exact, embeds = int(rng.integers(SEEDS)), bool(rng.integers(2)), rng.integers(2)
        if self.mode != "mixed":
            exact = self.mode == "exact"
        body = {"nodes": (nodes + FIRST_ID).tolist(), "seed": seed}
        body["mode"] = "exact" if exact else "sampled"
        if not embeds:
            body["include"] = ["embedding"]
        path = "/v1/nodes/embed" if embeds else "/v1/nodes/predict"
        rows = (self.exact if exact else self.sampled[seed])[nodes]
        return Question(path, json.dumps(body).encode(), body["nodes"], rows)

    def is_right(self, question: Question, answer: Answer) -> bool:
        """Whether a 200 holds exactly the rows asked for, in their order."""
        content = answer.json()
        if question.path.endswith("embed"):
            got = content["embeddings"]
        else:
            entries = content["predictions"]
            if [entry["node"] for entry in entries] != question.ids:
                return False
            got = [entry["embedding"] for entry in entries]
        rows = np.array(got, dtype=np.float64)
        return (
            rows.shape == question.rows.shape
            and bool(np.isfinite(rows).all())
            and bool(np.abs(rows - question.rows).max() < TOLERANCE)
        )
