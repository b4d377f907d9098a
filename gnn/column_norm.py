"""Input columns brought to mean 0 and deviation 1, for features of any unit.

The statistics are buffers of the model, taken once before training: of all nodes of a graph, of the
training graphs of a collection. A column that never changes becomes 0.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sampling import FeatureTable
from sampling.errors import InputError
from sampling.graph.sparse_features import SPARSE

__all__ = ["ColumnNorm"]

MOST_ROWS = 1 << 20
ROWS_AT_ONCE = 1 << 16


class ColumnNorm(nn.Module):
    """(x - mean) / deviation, column by column.

    Args:
        width: number of columns.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def fit(self, features: FeatureTable) -> None:
        """Take the statistics of rows; of about a million of them, evenly spaced, where there are
        more.

        Raises:
            InputError: the features are sparse.
        """
        if features.storage == SPARSE:
            raise InputError("input_norm is 'column', which makes sparse features dense; choose "
                             "row or none")  # fmt: skip
        nodes = np.arange(0, features.num_rows, max(1, features.num_rows // MOST_ROWS))
        if not len(nodes):
            return
        total = torch.zeros(2, len(self.mean), dtype=torch.float64)
        first = self._rows(features, nodes[:1])[0]  # near the mean, so that squares stay small
        for start in range(0, len(nodes), ROWS_AT_ONCE):
            away = self._rows(features, nodes[start : start + ROWS_AT_ONCE]) - first
            total += torch.stack([away.sum(dim=0), away.square().sum(dim=0)])
        mean, square = total / len(nodes)
        self.mean.copy_(first + mean)
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        constant = deviation <= 1e-6 * (first + mean).abs()
        self.deviation.copy_(torch.where(constant, torch.ones_like(deviation), deviation))

    def _rows(self, features: FeatureTable, nodes: NDArray[np.int64]) -> Tensor:
        return features.gather(torch.from_numpy(nodes))[:, : len(self.mean)].double()

    def forward(self, x: Tensor) -> Tensor:
        """Rows of the same shape, (n, width), in float32 or the type of `x` where that is wider."""
        return (x.to(torch.promote_types(x.dtype, self.mean.dtype)) - self.mean) / self.deviation
