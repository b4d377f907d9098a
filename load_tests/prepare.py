"""Something to serve: a graph of 100,000 nodes with models of nodes, links and whole graphs.

Everything is made by the commands that users have: `python load_tests/prepare.py FOLDER`.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

COMMANDS = (
    "synth sbm --nodes 100000 --edges 1000000 --seed 0 --features 32 --classes 8 --out {0}/files",
    "ingest --edges {0}/files/edges.parquet --nodes {0}/files/nodes.parquet"
    " --features {0}/files/features.npy --out {0}/graph",
    "train {0}/graph --out {0}/models/default --task node-classification --model sage"
    " --fanouts 10,5 --hidden 64 --epochs 1 --seed 0",
    "train {0}/graph --out {0}/models/links --task link-prediction --model sage"
    " --fanouts 10,5 --hidden 32 --epochs 1 --seed 0",
    "ingest-graphs --format jsonl {0}/graphs.jsonl --out {0}/graphs",
    "train {0}/graphs --out {0}/models/shapes --task graph-classification --model gin"
    " --hidden 32 --epochs 2 --seed 0",
)


def prepare(folder: Path) -> None:
    """Make whatever is not there yet."""
    if (folder / "ready").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    _write_graphs(folder / "graphs.jsonl")
    for line in COMMANDS:
        words = line.format(folder).split()
        print("gnn", *words, flush=True)
        subprocess.run([sys.executable, "-m", "service.cli", *words], check=True)  # noqa: S603
    (folder / "ready").touch()


def _write_graphs(path: Path) -> None:
    """Rings and stars with random features, to be told apart."""
    rng = random.Random(0)  # noqa: S311 - no secret
    with path.open("w") as file:
        for number in range(400):
            size, is_ring = rng.randint(5, 30), number % 2
            edges = [[i, (i + 1) % size if is_ring else 0] for i in range(is_ring ^ 1, size)]
            rows = [[round(rng.gauss(0, 1), 3) for _ in range(8)] for _ in range(size)]
            graph = {"id": number, "label": "ring" if is_ring else "star",
                     "node_features": rows, "edges": edges}  # fmt: skip
            graph["split"] = ("train", "train", "train", "val", "test")[number % 5]
            file.write(json.dumps(graph) + "\n")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
