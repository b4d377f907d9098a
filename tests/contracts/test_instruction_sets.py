"""What a kernel computes does not depend on the instruction set it was compiled for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WORK = """
import hashlib
import numpy as np
from sampling import FeatureTable, kernels

rng = np.random.default_rng(0)
nodes, edges = 3000, 200_000
dst = np.where(rng.random(edges) < 0.5, rng.integers(0, 60, edges), rng.integers(0, nodes, edges))
indptr, indices = kernels.build_csc(rng.integers(0, nodes, edges), dst, nodes, 2)
digest = hashlib.sha256()
seeds = rng.integers(0, nodes, 800)
for fanouts in ([3], [16], [17, 5], [64], [15, 10, 5], [65], [-1]):
    for columns in (indices, indices.astype(np.int64)):
        batch = (indptr, columns, seeds, fanouts, 7, 2, True)
        all_nodes, hops = kernels.sample_blocks(kernels.Workspace(), *batch)
        for array in (all_nodes, *(a for hop in hops for a in hop if a is not None)):
            digest.update(np.ascontiguousarray(array))
x = rng.standard_normal((nodes, 131)).astype(np.float32)
for storage in ("float32", "float16", "bfloat16", "int8"):
    table = FeatureTable.from_rows(x, storage)
    digest.update(kernels.gather(table.array, seeds, table.scale, 2))
    for reduce in ("sum", "mean", "max"):
        given = (indptr, indices, table.array, table.scale, None, reduce, 2)
        digest.update(kernels.aggregate(*given)[0])
print(digest.hexdigest())
"""


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_older_instruction_sets_give_the_same_bits(isa):
    assert _digest(isa) == _digest("")


def _digest(isa: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", WORK],
        env=os.environ | {"GNN_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout
