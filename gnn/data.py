"""What models are trained on: one graph, or a collection of graphs."""

from __future__ import annotations

from pathlib import Path

from sampling import Dataset, GraphStore
from sampling.graph.collection import GraphCollection
from sampling.graph.manifest import is_collection

__all__ = ["Data", "open_data"]

Data = Dataset | GraphCollection


def open_data(path: str | Path, *, verify: bool = True) -> Data:
    """Open the graph or the collection of graphs in this directory.

    Raises:
        DamagedError: names the file and what is wrong with it.
    """
    if is_collection(path):
        return GraphCollection.open(path, verify=verify)
    return GraphStore.open(path, verify=verify)
