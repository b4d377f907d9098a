"""Every file of what we write, damaged at random: it is refused, and nothing ever crashes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fuzz.campaign import MODES, fuzz
from fuzz.campaign import originals as make_originals

CASES = int(os.environ.get("GNN_FUZZ_CASES", "0"))
SOME, MANY = 60, 2500


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_originals(tmp_path_factory.mktemp("originals"))


@pytest.mark.parametrize(("kind", "mode"), MODES[:1] + MODES[3:5])
def test_damage_is_refused_or_harmless(originals, tmp_path: Path, kind: str, mode: str):
    found = fuzz(originals[kind], tmp_path, kind, mode, CASES or SOME)
    assert found.total() == (CASES or SOME)
    assert not found["ACCEPTED"], found
    assert found["refused"], found


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "mode"), MODES)
def test_a_lot_of_damage_is_refused_or_harmless(originals, tmp_path: Path, kind: str, mode: str):
    found = fuzz(originals[kind], tmp_path, kind, mode, CASES or MANY)
    print(kind, mode, dict(found))
    assert found.total() == (CASES or MANY)
    assert not found["ACCEPTED"], found
