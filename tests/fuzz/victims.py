"""What is damaged: how each kind of directory is opened, used, and signed anew by a forger.

Opening must refuse whatever is damaged. Where a forger has put the checksums right again, it may
also succeed; then using what was opened must end in an error of ours or in numbers, never in a
crash, a hang, or a read outside of the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from pydantic import ValidationError

from gnn import EmbeddingTable, load_model
from gnn.checkpoint import _digest
from gnn.embeddings import EmbeddingMeta
from sampling import FullNeighborSampler, Graph, GraphStore, NeighborSampler
from sampling.graph.arrays import HEADER_BYTES
from sampling.graph.meta import GraphMeta
from sampling.graph.store import UNCOUNTED, fingerprint
from service.jobs.job import STATES
from service.jobs.sqlite_store import SqliteStore

__all__ = ["VICTIMS", "Victim", "sign_model"]


@dataclass(frozen=True, slots=True)
class Victim:
    """One kind of directory.

    Attributes:
        open: opens it with all checks.
        use: reads what was opened.
        is_equal: whether what was opened is what was written, though bytes differ.
        sign: puts checksums right again; None where there are none.
    """

    open: Callable[[Path], Any]
    use: Callable[[Any], None]
    is_equal: Callable[[Any, Any], bool]
    sign: Callable[[Path], None] | None


def _use_graph(data: Any) -> None:
    nodes = torch.arange(0, data.graph.num_nodes, 5)
    for sampler in (NeighborSampler(data.graph, [3, 2]), FullNeighborSampler(data.graph, 2)):
        blocks = sampler.sample(nodes)
        if data.features is not None:
            data.features.gather(blocks[0].src_nodes)
    data.ids.find([100, 105, -1, 2**62])
    for array in (data.labels, data.splits):
        if array is not None:
            np.asarray(array).sum()


def _sign_graph(path: Path) -> None:
    manifest = path / "graph.json"
    content = json.loads(manifest.read_bytes())
    for name, info in content["arrays"].items():
        info["xxh3"] = _array_sum(path / f"{name}.npy")
    content["fingerprint"] = fingerprint(GraphMeta.model_validate(content))
    manifest.write_text(json.dumps(content))


def _array_sum(path: Path) -> str:
    return xxhash.xxh3_64(path.read_bytes()[HEADER_BYTES:]).hexdigest()


def _use_model(saved: Any) -> None:
    graph = Graph.from_edges(np.array([0, 1, 2]), np.array([1, 2, 0]), num_nodes=3)
    blocks = FullNeighborSampler(graph, saved.model.config.num_layers).sample(torch.arange(3))
    with torch.no_grad():
        saved.model(blocks, torch.zeros(3, saved.model.config.d_in))


def sign_model(path: Path) -> None:
    """Put the checksums of a model directory right again."""
    manifest = path / "model.json"
    content = json.loads(manifest.read_bytes())
    for name in content["files"]:
        content["files"][name] = hashlib.sha256((path / name).read_bytes()).hexdigest()
    content["digest"] = _digest(content)
    manifest.write_text(json.dumps(content))


def _use_table(table: Any) -> None:
    table.rows(np.arange(0, table.meta.num_nodes, 3))
    if table.predictions is not None:
        np.asarray(table.predictions).sum()


def _sign_table(path: Path) -> None:
    manifest = path / "embeddings.json"
    content = json.loads(manifest.read_bytes())
    for name, info in content["arrays"].items():
        info["xxh3"] = _array_sum(path / f"{name}.npy")
    sealed = EmbeddingMeta.model_validate(content).sealed()
    manifest.write_text(json.dumps(sealed.model_dump(mode="json")))


def _open_jobs(path: Path) -> Any:
    store = SqliteStore(path / "jobs.sqlite")
    try:
        jobs = store.listed(STATES, 100)
        store.counts()
        for job in jobs:
            store.update(job.id, lambda job, now: job.model_copy(update={"attempts": 1}))
        return jobs
    finally:
        store.close()


def _counted(data: Any) -> Any:
    return data.meta.model_dump(exclude=set(UNCOUNTED))


VICTIMS = {
    "graph": Victim(
        GraphStore.open, _use_graph, lambda a, b: _counted(a) == _counted(b), _sign_graph
    ),
    "model": Victim(load_model, _use_model, lambda a, b: a.info == b.info, sign_model),
    "embeddings": Victim(
        EmbeddingTable.open, _use_table, lambda a, b: a.meta == b.meta, _sign_table
    ),
    "jobs": Victim(_open_jobs, lambda jobs: None, lambda a, b: True, None),
}
FORGER_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError)
"""What signing may raise where there is nothing left to sign."""
