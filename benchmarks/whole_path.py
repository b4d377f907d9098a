"""A synthetic graph of any size from files to answers: time and memory of every step.

    python benchmarks/whole_path.py FOLDER --nodes 50000000 --edges 1000000000 --features 64 \
        --memory 8GiB --storage int8

R-MAT files are written, ingested within `--memory`, sampled, embedded with a model that was
trained on a small graph of the same kind, and served. FOLDER needs room for the files, the graph
and the embeddings. A table in Markdown is printed; the peak counts mapped pages of files.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

GNN = [sys.executable, "-m", "service.cli"]
SAMPLE = """
import sys, time, statistics
import numpy as np
from sampling import GraphStore, NeighborSampler
graph = GraphStore.open(sys.argv[1]).graph
sampler, random, rates = NeighborSampler(graph, [15, 10, 5]), np.random.default_rng(0), []
reachable = np.flatnonzero(graph.in_degrees())
for number in range(60):
    seeds = random.choice(reachable, 1024)
    began = time.perf_counter()
    edges = sum(block.num_edges for block in sampler.sample(seeds, number))
    rates.append(edges / (time.perf_counter() - began))
print(f"{statistics.median(rates[20:]) / 1e6:.1f} M edges/s")
"""
REQUESTS = 200


def main() -> None:
    """Run every step and print the table."""
    options = parse()
    folder, rows = options.folder, []
    folder.mkdir(parents=True, exist_ok=True)
    size = ["--nodes", options.nodes, "--edges", options.edges]
    kind = ["--features", options.features, "--feature-dtype", "float16", "--seed", 1]
    model = small_model(folder, kind)

    def step(name: str, *command: object) -> None:
        row = run(name, [str(part) for part in command])
        rows.append(row)
        print(" | ".join(row), file=sys.stderr, flush=True)

    step("synth", *GNN, "synth", "rmat", *size, *kind, "--out", folder / "files", "--overwrite")
    step("ingest", *GNN, "ingest", *inputs(folder / "files"), "--feature-dtype", options.storage,
         "--memory", options.memory, "--out", folder / "graph", "--overwrite")  # fmt: skip
    step("info", *GNN, "info", folder / "graph")
    step("verify", *GNN, "verify", folder / "graph")
    step("sample 15/10/5, 1,024 seeds", sys.executable, "-c", SAMPLE, folder / "graph")
    step("embed", *GNN, "embed", folder / "graph", model, "--out", folder / "embeddings",
         "--storage", options.storage, "--overwrite")  # fmt: skip
    rows.append(serve(folder, model, options.nodes))
    print("| step | time | peak resident memory | |\n|---|---|---|---|")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=8_000_000)
    parser.add_argument("--edges", type=int, default=200_000_000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--memory", default="8GiB")
    parser.add_argument("--storage", default="float16")
    return parser.parse_args()


def small_model(folder: Path, kind: Sequence[object]) -> Path:
    """A two-layer GraphSAGE, 64 wide, trained on a small graph of the same kind."""
    files, graph, models = folder / "small-files", folder / "small", folder / "models"
    size = ["--nodes", 20_000, "--edges", 500_000, "--classes", 16]
    for command in (
        ["synth", "rmat", *size, *kind, "--out", files, "--overwrite"],
        ["ingest", *inputs(files), "--out", graph, "--overwrite"],
        ["train", graph, "--out", models / "default", "--task", "node-classification",
         "--model", "sage", "--fanouts", "10,15", "--hidden", 64, "--head", "linear",
         "--epochs", 1],
    ):  # fmt: skip
        subprocess.run([*GNN, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
    return models / "default"


def inputs(files: Path) -> list[object]:
    """What `gnn synth` wrote, as `gnn ingest` takes it."""
    names = {"--edges": "edges.parquet", "--nodes": "nodes.parquet", "--features": "features.npy"}
    return [part for option, name in names.items() for part in (option, files / name)]


def run(name: str, command: list[str]) -> list[str]:
    """Name, time, peak memory and what was printed last, of a command."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None, "a pipe"
        printed = child.stdout.read().strip().splitlines()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{name} ended with {child.returncode}")
    said = printed[-1] if name.startswith("sample") else ""
    return [name, f"{time.perf_counter() - began:.0f} s", gib(usage.ru_maxrss), said]


def gib(kib: int) -> str:
    return f"{kib / 2**20:.1f} GiB"


def serve(folder: Path, model: Path, num_nodes: int) -> list[str]:
    """Time until ready, memory, and the median latency of single ids by mode."""
    began = time.perf_counter()
    options = ["--graph", folder / "graph", "--models", model.parent, "--embeddings",
               folder / "embeddings", "--port", 0]  # fmt: skip
    with server([*GNN, "serve", *map(str, options)]) as (url, pid):
        ready = time.perf_counter() - began
        said = ", ".join(f"{mode} {latency(url, mode, num_nodes):.1f} ms"
                         for mode in ("table", "sampled", "auto"))  # fmt: skip
        status = Path(f"/proc/{pid}/status").read_text()
    peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0])
    return ["serve", f"ready in {ready:.0f} s", gib(peak), said]


@contextmanager
def server(command: list[str]) -> Iterator[tuple[str, int]]:
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None, "a pipe"
        url = next(m[0] for line in child.stdout if (m := re.search(r"http://[\d.]+:\d+", line)))
        while True:
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        yield url, child.pid
    finally:
        child.terminate()
        child.wait(60)


def latency(url: str, mode: str, num_nodes: int) -> float:
    """Median milliseconds of requests for one id each, ids spread over the graph."""
    times = []
    with httpx.Client(base_url=url) as client:
        for i in range(REQUESTS):
            node = (i * 2_654_435_761 + 12_345) % num_nodes
            began = time.perf_counter()
            body = {"nodes": [node], "mode": mode, "seed": i}
            answer = client.post("/v1/nodes/predict", json=body)
            times.append(time.perf_counter() - began)
            assert answer.status_code == 200, answer.text
    return statistics.median(times) * 1e3


if __name__ == "__main__":
    main()
