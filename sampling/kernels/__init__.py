"""The hot loops. Plain arrays in, plain arrays out; `reference` says what each one computes."""

from __future__ import annotations

import os

from sampling.kernels._core import (
    Workspace,
    aggregate,
    build_csc,
    build_id_table,
    build_string_table,
    check_csc,
    csc_order,
    find_ids,
    find_strings,
    gather,
    max_backward,
    relabel,
    sample_aggregate,
    sample_blocks,
    sample_neighbors,
    sum_random_lines,
    sum_stream,
    transpose,
)

__all__ = [
    "Workspace",
    "aggregate",
    "build_csc",
    "build_id_table",
    "build_string_table",
    "check_csc",
    "csc_order",
    "default_threads",
    "find_ids",
    "find_strings",
    "gather",
    "max_backward",
    "relabel",
    "sample_aggregate",
    "sample_blocks",
    "sample_neighbors",
    "sum_random_lines",
    "sum_stream",
    "transpose",
]


def default_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
