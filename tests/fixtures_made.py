"""Directories of today's format versions: `PYTHONPATH=. python tests/fixtures_made.py FOLDER`.

Run once when a format version is new; what it made is kept, so that later versions of this project
go on reading it. `tests/fuzz/test_formats.py` does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnn import ModelConfig, TrainConfig, build_model, embed, load_model, save_model
from sampling import Dataset, Graph, GraphCollection, GraphStore, NodeIds
from sampling.graph.ids import encode_strings

__all__ = ["make"]


def make(root: Path) -> None:
    """A graph, a model of it, its table, a collection, and what they must answer."""
    rng = np.random.default_rng(0)
    graph = Graph.from_edges(*rng.integers(0, 24, (2, 90)), num_nodes=24)
    data = Dataset.in_memory(
        graph,
        features=rng.standard_normal((24, 5)).astype(np.float32),
        labels=rng.integers(-1, 3, 24),
        classes=["a", "b", "c"],
        splits=rng.integers(0, 4, 24).astype(np.uint8),
        ids=NodeIds.from_strings(*encode_strings([f"n{i}" for i in range(24)])),
        name="kept",
    )
    GraphStore.write(root / "graph", data)
    data = GraphStore.open(root / "graph")
    torch.manual_seed(0)
    config = ModelConfig(conv="sage", d_in=5, d_hidden=6, d_out=3, num_layers=2)
    model = build_model(config)
    save_model(root / "models" / "kept", model, data, TrainConfig(fanouts=(3, 2)), {"test": {}})
    for _ in embed(load_model(root / "models" / "kept"), data, root / "rows", predictions=True):
        pass
    _collection(rng).write(root / "graphs")
    (root / "expected.json").write_text(json.dumps(_expected(root), indent=1))


def _collection(rng: np.random.Generator) -> GraphCollection:
    parts = [
        Dataset.in_memory(
            Graph.from_edges(*rng.integers(0, 5, (2, 8)), num_nodes=5),
            features=rng.standard_normal((5, 3)).astype(np.float32),
        )
        for _ in range(4)
    ]
    return GraphCollection.from_graphs(parts, labels=np.arange(4) % 2, classes=["x", "y"])


def _expected(root: Path) -> dict[str, Any]:
    from gnn import EmbeddingTable

    table = EmbeddingTable.open(root / "rows")
    return {
        "graph": GraphStore.meta(root / "graph").fingerprint,
        "model": load_model(root / "models" / "kept").info.digest,
        "rows": table.rows(np.arange(24)).tolist(),
        "collection": GraphCollection.open(root / "graphs").meta.fingerprint,
    }


if __name__ == "__main__":
    make(Path(sys.argv[1]))
