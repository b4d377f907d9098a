"""Slow, obviously right twins of the compiled kernels, in NumPy, with the same signatures.

One contract suite runs both. What a kernel computes is written down here; how it is made fast
is written in `csrc/`.
"""

from sampling.kernels.reference.adjacency import build_csc, check_csc, csc_order, transpose
from sampling.kernels.reference.ids import (
    build_id_table,
    build_string_table,
    find_ids,
    find_strings,
)
from sampling.kernels.reference.neighbors import (
    LINEAR_LIMIT,
    Workspace,
    floyd,
    relabel,
    sample_aggregate,
    sample_blocks,
    sample_neighbors,
)
from sampling.kernels.reference.probe import sum_random_lines, sum_stream
from sampling.kernels.reference.random import GOLDEN, MASK, draw, mix, stream_key
from sampling.kernels.reference.rows import aggregate, gather, max_backward, to_float32

__all__ = [
    "GOLDEN",
    "LINEAR_LIMIT",
    "MASK",
    "Workspace",
    "aggregate",
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
    "max_backward",
    "mix",
    "relabel",
    "sample_aggregate",
    "sample_blocks",
    "sample_neighbors",
    "stream_key",
    "sum_random_lines",
    "sum_stream",
    "to_float32",
    "transpose",
]
