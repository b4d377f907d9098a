"""Damage of what we write in great numbers, in processes that may die of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from faults.processes import plain_environment
from world import ROOT, World, make_world

from gnn import load_model
from service.jobs.job import Job, JobSpec, new_job_id
from service.jobs.sqlite_store import SqliteStore

__all__ = ["MODES", "fuzz", "originals"]

AT_ONCE = 2500
MODES = [("graph", "checked"), ("model", "checked"), ("embeddings", "checked"),
         ("jobs", "checked"), ("graph", "forged"), ("model", "forged"),
         ("embeddings", "forged")]  # fmt: skip


def originals(root: Path) -> dict[str, Path]:
    """One directory of each kind, as it is right."""
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


def fuzz(original: Path, scratch: Path, kind: str, mode: str, count: int) -> Counter[str]:
    """What came of so many cases, in processes of a few thousand.

    Raises:
        AssertionError: a process died, or a case took too long; names the case.
    """
    found, folder = Counter[str](), scratch / "1" / original.name
    for first in range(0, count, AT_ONCE):
        words = [kind, original, folder, first, min(AT_ONCE, count - first), mode]
        done = subprocess.run(
            [sys.executable, "-m", "fuzz.files", *map(str, words)], env=plain_environment(),
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = done.stdout.splitlines()
        assert done.returncode == 0, f"{lines[-1:]} ended in {done.returncode}: {done.stderr}"
        found += Counter(json.loads(lines[-1]))
    return found
