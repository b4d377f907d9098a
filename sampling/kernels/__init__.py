"""The hot loops. Plain arrays in, plain arrays out; `reference` says what each one computes."""

from __future__ import annotations

import os

from sampling.kernels._core import (
    ChoiceWorkspace,
    Workspace,
    aggregate,
    alias_table,
    biased_walks,
    build_csc,
    build_id_table,
    build_string_table,
    check_csc,
    csc_order,
    find_ids,
    find_strings,
    gather,
    important_neighbors,
    induced_subgraph,
    labor_blocks,
    max_backward,
    propagate_labels,
    random_walks,
    relabel,
    replacement_blocks,
    sample_aggregate,
    sample_blocks,
    sample_negatives,
    sample_neighbors,
    temporal_blocks,
    transpose,
    typed_blocks,
    weighted_blocks,
)

__all__ = [
    "ChoiceWorkspace",
    "Workspace",
    "aggregate",
    "alias_table",
    "biased_walks",
    "build_csc",
    "build_id_table",
    "build_string_table",
    "check_csc",
    "csc_order",
    "default_threads",
    "find_ids",
    "find_strings",
    "gather",
    "important_neighbors",
    "induced_subgraph",
    "labor_blocks",
    "max_backward",
    "propagate_labels",
    "random_walks",
    "relabel",
    "replacement_blocks",
    "sample_aggregate",
    "sample_blocks",
    "sample_negatives",
    "sample_neighbors",
    "temporal_blocks",
    "transpose",
    "typed_blocks",
    "weighted_blocks",
]


def default_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
