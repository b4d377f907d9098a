"""Freed memory stays with a training, and goes back when it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from gnn import pages
from gnn.pages import kept_pages

FAULTS = """
import resource, torch
from gnn.pages import kept_pages

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.zeros(9_000_000)  # 34 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
usual = faults()
with kept_pages():
    faults()
    kept = faults()
print(usual, kept, faults())
"""


def test_large_blocks_are_not_cleared_again_for_every_step():
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    usual, kept, after = map(int, done.stdout.split())
    assert kept < usual / 10
    assert after > usual / 2


def test_what_is_computed_does_not_change():
    x = torch.randn(1000, 64)
    with kept_pages():
        inside = x @ x.T
    assert torch.equal(inside, x @ x.T)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages, "_glibc", lambda: None)
    with kept_pages():
        assert torch.ones(1).item() == 1
