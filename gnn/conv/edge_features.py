"""Edge features as a convolution was built for: of that width, or none at all."""

from __future__ import annotations

from torch import Tensor

from sampling import Block
from sampling.errors import InputError

__all__ = ["features_of"]


def features_of(block: Block, d_edge: int) -> Tensor | None:
    """Features of the block's edges, (num_edges, d_edge) float32; None for a width of 0.

    Raises:
        InputError: the block has none, or of another width.
    """
    if d_edge == 0:
        return None
    features = block.edge_features
    got = 0 if features is None else features.shape[1]
    if features is None or got != d_edge:
        raise InputError(
            f"this model reads edge features of width {d_edge}; the edges here have {got or 'none'}"
        )
    return features
