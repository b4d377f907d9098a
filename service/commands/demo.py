"""`gnn demo`: the whole job on real data that an installed package brings along.

The handwritten digits of scikit-learn (1,797 images of 8 x 8 pixels; Alpaydin, Kaynak 1998) become
a graph: every image receives messages from the ten images most like it. Ten labels per class
train a GraphSAGE model; the other images are told apart by their own pixels and their
neighbors'. Every step runs the code of its command, and the answer comes over HTTP from a
server in a process of its own.
"""

from __future__ import annotations

import json as json_module
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from service.commands.options import Debug, Json
from service.console import note, show

__all__ = ["demo"]

NEIGHBORS = 10
TRAIN_PER_CLASS, VAL_PER_CLASS = 10, 20
SEED = 0
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


def demo(
    keep: Annotated[
        Path | None, typer.Option(help="Directory for all files, which then stay there.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Leave the server running until Ctrl-C.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """The whole job on handwritten digits: ingest, train, embed, serve, and one question."""
    started = time.perf_counter()
    with ExitStack() as stack:
        if keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gnn-demo-")))
        else:
            folder = keep.resolve()
            folder.mkdir(parents=True, exist_ok=True)
        result = run(folder, serve, started)
    if keep is not None:
        result["files"] = str(folder)
    show(result, json)


def run(folder: Path, leave_serving: bool, started: float) -> dict[str, Any]:
    """Every step in order; returns what the demo shows."""
    from service.commands.embed import run_embedding
    from service.commands.ingest import run_ingest

    files = folder / "files"
    labels = write_digits(files)
    note(f"1/5 ingest: {len(labels)} images, each with its {NEIGHBORS} nearest neighbors")
    graph, models, embeddings = folder / "graph", folder / "models", folder / "embeddings"
    run_ingest(
        edges=[files / "edges.csv"],
        nodes=[files / "nodes.csv"],
        features=files / "features.npy",
        out=graph,
        name="digits",
        overwrite=True,
    )
    note(f"2/5 train: GraphSAGE from {TRAIN_PER_CLASS} labels per digit")
    trained = _train(graph, models / "digits")
    note("3/5 embed: all images, layer by layer")
    run_embedding(
        graph, models / "digits", embeddings, predictions=True, overwrite=True, num_threads=1
    )
    note("4/5 serve: a server of its own process on a free port")
    node = _first_test_image(files)
    with running_server(graph, models, embeddings) as url:
        note(f"5/5 ask: POST {url}/v1/nodes/predict for image {node}")
        answer = ask(f"{url}/v1/nodes/predict", {"nodes": [node]})
        predicted = answer["predictions"][0]
        result = {
            "node": node,
            "true_label": labels[node],
            "predicted_label": predicted["label"],
            "score": predicted["score"],
            "source": predicted["source"],
            "model_version": trained["version"],
            "test_accuracy": trained["metrics"]["test"]["accuracy"],
            "seconds": round(time.perf_counter() - started, 1),
        }
        if leave_serving:
            note(f"serving on {url} (documentation at {url}/docs) until Ctrl-C")
            _wait_for_interrupt()
    return result


def write_digits(folder: Path) -> list[int]:
    """Write edges.csv, nodes.csv and features.npy; returns the true label of every image."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.neighbors import NearestNeighbors

    pixels, labels = load_digits(return_X_y=True)
    features = (pixels / 16).astype(np.float32)
    nearest = NearestNeighbors(n_neighbors=NEIGHBORS + 1).fit(features)
    neighbors = nearest.kneighbors(features, return_distance=False)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", features)
    edges = [(int(s), d) for d, row in enumerate(neighbors) for s in row if s != d]
    _write_rows(folder / "edges.csv", "src,dst", edges)
    columns = zip(labels.tolist(), _parts(labels), strict=True)
    rows = [(i, label, part) for i, (label, part) in enumerate(columns)]
    _write_rows(folder / "nodes.csv", "id,label,split", rows)
    return [int(y) for y in labels]


def _parts(labels: Any) -> list[str]:
    """Per class some images to train with, some to choose the best epoch, the rest to test."""
    import numpy as np

    parts = np.full(len(labels), "test", dtype=object)
    random = np.random.default_rng(SEED)
    for digit in np.unique(labels):
        order = random.permutation(np.flatnonzero(labels == digit))
        parts[order[:TRAIN_PER_CLASS]] = "train"
        parts[order[TRAIN_PER_CLASS : TRAIN_PER_CLASS + VAL_PER_CLASS]] = "val"
    return parts.tolist()


def _write_rows(path: Path, header: str, rows: list[Any]) -> None:
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def _first_test_image(files: Path) -> int:
    rows = (files / "nodes.csv").read_text().splitlines()
    return int(next(row for row in rows if row.endswith("test")).split(",")[0])


def _train(graph: Path, out: Path) -> dict[str, Any]:
    from gnn import ModelConfig, TrainConfig
    from sampling import GraphStore
    from service.commands.train import run_training

    data = GraphStore.open(graph)
    architecture = ModelConfig(
        conv="sage", d_in=data.meta.feature_dim, d_hidden=128, d_out=10, num_layers=3
    )
    training = TrainConfig(epochs=60, lr=0.01, weight_decay=5e-3, seed=SEED, num_threads=1)
    return run_training(data, architecture, training, out)


@contextmanager
def running_server(graph: Path, models: Path, embeddings: Path) -> Iterator[str]:
    """A server in a process of its own, ready to answer; its address."""
    command = [
        *(sys.executable, "-m", "service.cli", "serve", "--log-level", "warning"),
        *("--graph", str(graph), "--models", str(models), "--embeddings", str(embeddings)),
        *("--port", "0"),
    ]
    with tempfile.NamedTemporaryFile(prefix="gnn-serve-") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own module
        try:
            yield _address_when_ready(server, Path(log.name))
        finally:
            _stop(server)


def ask(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST a JSON body; returns the JSON answer."""
    request = urllib.request.Request(  # noqa: S310 - a loopback address of our own
        url, json_module.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        answer: dict[str, Any] = json_module.loads(response.read())
    return answer


def _address_when_ready(server: subprocess.Popen[bytes], log: Path) -> str:
    """The address that the server says it listens on, once it answers there."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        found = re.search(r"serving on (http://\S+)", log.read_text(errors="replace"))
        if found and _is_ready(f"{found[1]}/health/ready"):
            return found[1]
        time.sleep(0.05)
    said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
    raise RuntimeError(f"the server did not become ready; it last said: {said[0]}")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - a loopback address of our own
            return True
    except (urllib.error.URLError, OSError):
        return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        note("stopping")
