"""Every file of what we write, damaged at random: it is refused, and nothing ever crashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from faults.processes import plain_environment
from world import ROOT, World, make_world

from gnn import load_model
from service.jobs.job import Job, JobSpec, new_job_id
from service.jobs.sqlite_store import SqliteStore

CASES = int(os.environ.get("GNN_FUZZ_CASES", "0"))
SOME, MANY, AT_ONCE = 60, 2500, 2500


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("originals")
    world: World = make_world(root)
    jobs = SqliteStore(root / "jobs" / "jobs.sqlite")
    info = load_model(world.models / "default").info
    spec = JobSpec(
        kind="embed", model="default", version=1, model_digest=info.digest, graph="g",
        graph_version=1, num_nodes=3, every_node=True, include=("embedding",),
    )  # fmt: skip
    for number in range(20):
        jobs.insert(Job(id=new_job_id(), spec=spec, created=float(number)), 100)
    jobs.close()
    model = world.models / "default" / "1"
    return {"graph": world.graph, "model": model, "embeddings": world.embeddings,
            "jobs": root / "jobs"}  # fmt: skip


def fuzz(originals: dict[str, Path], scratch: Path, kind: str, mode: str, count: int) -> Counter:
    """What came of so many cases, in processes of a few thousand."""
    found, folder = Counter[str](), scratch / "1" / originals[kind].name
    for first in range(0, count, AT_ONCE):
        words = [kind, originals[kind], folder, first, min(AT_ONCE, count - first), mode]
        done = subprocess.run(
            [sys.executable, "-m", "fuzz.files", *map(str, words)], env=plain_environment(),
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = done.stdout.splitlines()
        assert done.returncode == 0, f"{lines[-1:]} ended in {done.returncode}: {done.stderr}"
        found += Counter(json.loads(lines[-1]))
    return found


MODES = [("graph", "checked"), ("model", "checked"), ("embeddings", "checked"),
         ("jobs", "checked"), ("graph", "forged"), ("model", "forged"),
         ("embeddings", "forged")]  # fmt: skip


@pytest.mark.parametrize(("kind", "mode"), MODES[:1] + MODES[3:5])
def test_damage_is_refused_or_harmless(originals, tmp_path: Path, kind: str, mode: str):
    found = fuzz(originals, tmp_path, kind, mode, CASES or SOME)
    assert found.total() == (CASES or SOME)
    assert not found["ACCEPTED"], found
    assert found["refused"], found


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "mode"), MODES)
def test_a_lot_of_damage_is_refused_or_harmless(originals, tmp_path: Path, kind: str, mode: str):
    found = fuzz(originals, tmp_path, kind, mode, CASES or MANY)
    print(kind, mode, dict(found))
    assert found.total() == (CASES or MANY)
    assert not found["ACCEPTED"], found
