"""Slow, obviously right twins of the compiled kernels, in NumPy, with the same signatures.

One contract suite runs both. What a kernel computes is written down here; how it is made fast
is written in `csrc/`.
"""

from sampling.kernels.reference.adjacency import build_csc, check_csc, csc_order, transpose
from sampling.kernels.reference.attention import attend, attend_backward
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
from sampling.kernels.reference.clusters import propagate_labels
from sampling.kernels.reference.generate import normals, rmat_edges, rmat_pairs, scramble
from sampling.kernels.reference.ids import (
    build_id_table,
    build_string_table,
    find_ids,
    find_strings,
)
from sampling.kernels.reference.importance import important_neighbors
from sampling.kernels.reference.layers import dense_rows, layer_rows
from sampling.kernels.reference.matching import heavy_edge_matching
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
from sampling.kernels.reference.probe import sum_random_lines, sum_stream
from sampling.kernels.reference.random import GOLDEN, MASK, draw, mix, stream_key
from sampling.kernels.reference.reorder import propagate_communities
from sampling.kernels.reference.rows import aggregate, gather, max_backward, take, to_float32
from sampling.kernels.reference.runs import merge_runs, order_runs, partition_edges
from sampling.kernels.reference.subgraphs import induced_subgraph
from sampling.kernels.reference.text import parse_integers
from sampling.kernels.reference.walks import biased_walks, random_walks

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
    "attend",
    "attend_backward",
    "biased_walks",
    "build_csc",
    "build_id_table",
    "build_string_table",
    "check_csc",
    "csc_order",
    "dense_rows",
    "draw",
    "find_ids",
    "find_strings",
    "floyd",
    "gather",
    "heavy_edge_matching",
    "important_neighbors",
    "induced_subgraph",
    "labor_blocks",
    "layer_rows",
    "max_backward",
    "merge_runs",
    "mix",
    "natural_log",
    "normals",
    "order_runs",
    "parse_integers",
    "partition_edges",
    "propagate_communities",
    "propagate_labels",
    "random_walks",
    "relabel",
    "replacement_blocks",
    "rmat_edges",
    "rmat_pairs",
    "sample_aggregate",
    "sample_blocks",
    "sample_negatives",
    "sample_neighbors",
    "scramble",
    "stream_key",
    "subset",
    "sum_random_lines",
    "sum_stream",
    "take",
    "temporal_blocks",
    "to_float32",
    "transpose",
    "typed_blocks",
    "weighted_blocks",
]
