"""Fixtures that every room shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public data sets; tests that read them say so where there is none."""
    folder = os.environ.get("GNN_TEST_DATA")
    if not folder:
        if os.environ.get("CI"):
            pytest.fail("GNN_TEST_DATA must name the folder of data sets in CI")
        pytest.skip("GNN_TEST_DATA is not set: no folder of public data sets to read")
    return Path(folder)
