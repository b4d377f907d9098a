"""PyTorch Geometric (Fey, Lenssen 2019) and torch-sparse, where they are installed."""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from service.bench.problem import Problem

__all__ = ["Pyg", "TorchSparse", "import_or_none"]


def import_or_none(package: str) -> Any | None:
    """The package; None where it cannot be imported, or not with this torch."""
    try:
        return importlib.import_module(package)
    except (ImportError, OSError):
        return None


class TorchSparse:
    """Its `neighbor_sample` (one thread) and its product with a `SparseTensor`."""

    def __init__(self, problem: Problem) -> None:
        self.sparse, self.problem = importlib.import_module("torch_sparse"), problem

    def use_threads(self, num_threads: int) -> None:
        """Work with this many threads from now on, where it has several."""
        torch.set_num_threads(num_threads)

    def sample(self, number: int) -> int:
        """Sampled edges of the round's batches."""
        indptr, indices = self._adjacency
        fanouts = self.problem.fanouts[::-1]
        return sum(
            torch.ops.torch_sparse.neighbor_sample(
                indptr, indices, seeds, fanouts, False, True
            )[1].numel()
            for seeds in torch.from_numpy(self.problem.batches[number])
        )  # fmt: skip

    def mean(self, number: int) -> Tensor:
        """The mean over in-neighbors of every node."""
        out: Tensor = self.sparse.matmul(self._matrix, self._rows, reduce="mean")
        return out

    @cached_property
    def _rows(self) -> Tensor:
        return torch.from_numpy(self.problem.rows)

    @cached_property
    def _adjacency(self) -> tuple[Tensor, Tensor]:
        graph = self.problem.graph
        return torch.from_numpy(graph.indptr), torch.from_numpy(graph.indices).long()

    @cached_property
    def _matrix(self) -> Any:
        indptr, indices = self._adjacency
        size = (self.problem.graph.num_nodes,) * 2
        return self.sparse.SparseTensor(rowptr=indptr, col=indices, sparse_sizes=size)


class Pyg:
    """Its `NeighborLoader`, and its `SAGEConv` over the whole graph."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.num_threads = problem, 1

    def use_threads(self, num_threads: int) -> None:
        """Work with this many threads from now on."""
        self.num_threads = num_threads
        torch.set_num_threads(num_threads)

    def load(self, number: int) -> int:
        """Sampled edges of the round's batches, with their input rows, loaded by the caller."""
        return self._load(number, 0)

    def load_workers(self, number: int) -> int:
        """The same, loaded by a process per thread."""
        return self._load(number, self.num_threads)

    def embed_full(self, number: int) -> Tensor:
        """Every node through every layer: the whole graph at once."""
        x = self._data.x
        with torch.no_grad():
            for i, layer in enumerate(self._layers):
                x = layer(x, self._data.adj_t)
                x = x.relu() if i + 1 < len(self._layers) else x
        return x  # type: ignore[no-any-return]  # the package is imported by name

    def _load(self, number: int, num_workers: int) -> int:
        loaders = importlib.import_module("torch_geometric.loader")
        loader = loaders.NeighborLoader(
            self._data,
            self.problem.fanouts[::-1],
            torch.from_numpy(self.problem.batches[number].reshape(-1)),
            batch_size=self.problem.batches.shape[2],
            num_workers=num_workers,
        )
        return sum(int(batch.num_edges) for batch in loader if batch.x is not None)

    @cached_property
    def _data(self) -> Any:
        sparse = importlib.import_module("torch_sparse")
        graph, rows = self.problem.graph, torch.from_numpy(self.problem.rows)
        adj_t = sparse.SparseTensor(
            rowptr=torch.from_numpy(graph.indptr),
            col=torch.from_numpy(graph.indices).long(),
            sparse_sizes=(graph.num_nodes,) * 2,
        )
        return importlib.import_module("torch_geometric.data").Data(x=rows, adj_t=adj_t)

    @cached_property
    def _layers(self) -> list[Any]:
        convs, width = importlib.import_module("torch_geometric.nn"), self.problem.rows.shape[1]
        layers = [convs.SAGEConv(width, width) for _ in range(self.problem.num_layers)]
        for layer, arrays in zip(layers, self.problem.weights(), strict=True):
            own, neighbors, bias = (torch.from_numpy(array) for array in arrays)
            layer.lin_r.weight.data, layer.lin_l.weight.data = own, neighbors
            layer.lin_l.bias.data = bias
        return layers
