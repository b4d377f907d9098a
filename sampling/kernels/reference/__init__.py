"""Slow, obviously right twins of the compiled kernels, in NumPy, with the same signatures.

One contract suite runs both. What a kernel computes is written down here; how it is made fast
is written in `csrc/`.
"""

from sampling.kernels.reference.adjacency import build_csc, check_csc, csc_order, transpose
from sampling.kernels.reference.choose import (
    ChoiceWorkspace,
    alias_pick,
    alias_table,
    arrival_times,
    labor_blocks,
    natural_log,
    replacement_blocks,
    subset,
    temporal_blocks,
    typed_blocks,
    weighted_blocks,
)
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
    sample_blocks,
    sample_neighbors,
)
from sampling.kernels.reference.random import GOLDEN, MASK, draw, mix, stream_key
from sampling.kernels.reference.rows import aggregate, gather, max_backward, to_float32

__all__ = [
    "GOLDEN",
    "LINEAR_LIMIT",
    "MASK",
    "ChoiceWorkspace",
    "Workspace",
    "aggregate",
    "alias_pick",
    "alias_table",
    "arrival_times",
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
    "labor_blocks",
    "max_backward",
    "mix",
    "natural_log",
    "relabel",
    "replacement_blocks",
    "sample_blocks",
    "sample_neighbors",
    "stream_key",
    "subset",
    "temporal_blocks",
    "to_float32",
    "transpose",
    "typed_blocks",
    "weighted_blocks",
]
