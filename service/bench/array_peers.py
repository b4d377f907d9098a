"""PyTorch, NumPy and SciPy at the works that they have an operation for."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.bench.problem import Problem

__all__ = ["Numpy", "Scipy", "Torch"]


class Torch:
    """`index_select` and the product with a sparse CSR tensor.

    Args:
        problem: what to work on.
        storage: number type of the rows.
    """

    def __init__(self, problem: Problem, storage: str = "float32") -> None:
        self.problem, self.storage = problem, storage

    def use_threads(self, num_threads: int) -> None:
        """Work with this many threads from now on."""
        torch.set_num_threads(num_threads)

    def gather(self, number: int) -> Tensor:
        """Rows of the round's nodes as float32."""
        rows, scale = self._stored
        nodes = torch.from_numpy(self.problem.batches[number].reshape(-1))
        out = rows.index_select(0, nodes).float()
        return out if scale is None else out.mul_(scale)

    def mean(self, number: int) -> Tensor:
        """The mean over in-neighbors of every node."""
        return self._matrix @ self._stored[0]

    @cached_property
    def _stored(self) -> tuple[Tensor, Tensor | None]:
        table = self.problem.table(self.storage)
        rows = table.tensor()
        if rows is not None or table.scale is None:
            assert rows is not None, "torch has every type but ours of int8"
            return rows, None
        return torch.from_numpy(table.array), torch.from_numpy(table.scale)

    @cached_property
    def _matrix(self) -> Tensor:
        graph = self.problem.graph
        indptr, indices = (torch.from_numpy(a) for a in (graph.indptr, graph.indices))
        if graph.num_edges < 2**31:
            indptr = indptr.int()
        else:
            indices = indices.long()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # sparse CSR is still called beta
            return torch.sparse_csr_tensor(
                indptr,
                indices,
                torch.from_numpy(_mean_weights(self.problem)),
                (graph.num_nodes, graph.num_nodes),
            )


class Numpy:
    """`take`.

    Args:
        problem: what to work on.
        storage: number type of the rows; NumPy has no bfloat16.
    """

    def __init__(self, problem: Problem, storage: str = "float32") -> None:
        self.problem, self.table = problem, problem.table(storage)

    def use_threads(self, num_threads: int) -> None:
        """NumPy takes rows with one thread."""

    def gather(self, number: int) -> NDArray[Any]:
        """Rows of the round's nodes as float32."""
        nodes = self.problem.batches[number].reshape(-1)
        out: NDArray[Any] = self.table.array.take(nodes, axis=0).astype(np.float32, copy=False)
        if self.table.scale is not None:
            np.multiply(out, self.table.scale, out=out)
        return out


class Scipy:
    """The product with a CSR array."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def use_threads(self, num_threads: int) -> None:
        """SciPy multiplies with one thread."""

    def mean(self, number: int) -> NDArray[Any]:
        """The mean over in-neighbors of every node."""
        out: NDArray[Any] = self._matrix @ self.problem.rows
        return out

    @cached_property
    def _matrix(self) -> Any:
        from scipy.sparse import csr_array

        graph = self.problem.graph
        arrays = (_mean_weights(self.problem), graph.indices, graph.indptr)
        return csr_array(arrays, shape=(graph.num_nodes, graph.num_nodes))


def _mean_weights(problem: Problem) -> NDArray[np.float32]:
    """One over the in-degree of its destination, for every edge."""
    degrees = problem.graph.in_degrees()
    return np.repeat(1 / np.maximum(degrees, 1), degrees).astype(np.float32)
