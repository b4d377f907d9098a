"""Slow, obviously right twins of the compiled kernels, in NumPy, with the same signatures.

One contract suite runs both. What a kernel computes is written down here; how it is made fast
is written in `csrc/`.
"""

from sampling.kernels.reference.adjacency import build_csc, check_csc, csc_order, transpose
from sampling.kernels.reference.clusters import propagate_labels
from sampling.kernels.reference.ids import (
    build_id_table,
    build_string_table,
    find_ids,
    find_strings,
)
from sampling.kernels.reference.importance import important_neighbors
from sampling.kernels.reference.negatives import sample_negatives
from sampling.kernels.reference.neighbors import (
    LINEAR_LIMIT,
    Workspace,
    floyd,
    relabel,
    sample_aggregate,
    sample_blocks,
    sample_neighbors,
)
from sampling.kernels.reference.random import GOLDEN, MASK, draw, mix, stream_key
from sampling.kernels.reference.rows import aggregate, gather, max_backward, to_float32
from sampling.kernels.reference.subgraphs import induced_subgraph
from sampling.kernels.reference.walks import ATTEMPTS, biased_walks, random_walks, walk_key

__all__ = [
    "ATTEMPTS",
    "GOLDEN",
    "LINEAR_LIMIT",
    "MASK",
    "Workspace",
    "aggregate",
    "biased_walks",
    "build_csc",
    "build_id_table",
    "build_string_table",
    "check_csc",
    "csc_order",
    "draw",
    "find_ids",
    "find_strings",
    "floyd",
    "gather",
    "important_neighbors",
    "induced_subgraph",
    "max_backward",
    "mix",
    "propagate_labels",
    "random_walks",
    "relabel",
    "sample_aggregate",
    "sample_blocks",
    "sample_negatives",
    "sample_neighbors",
    "stream_key",
    "to_float32",
    "transpose",
    "walk_key",
]
