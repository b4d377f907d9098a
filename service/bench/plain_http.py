"""Request, answer and server of the plain services: what ours reads and writes, done as usual."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel

__all__ = ["PredictRequest", "PredictResponse", "answer_of", "serve_plainly"]


class PredictRequest(BaseModel):
    """Which nodes."""

    nodes: list[int]
    mode: str = "auto"


class Prediction(BaseModel):
    """What one node is."""

    node: int
    source: str
    mode: str
    label: str | int
    score: float
    probabilities: dict[str, float]


class PredictResponse(BaseModel):
    """An entry per node."""

    model: str
    model_version: int
    graph_version: int
    predictions: list[Prediction]


def answer_of(
    nodes: Sequence[int], probabilities: NDArray[Any], classes: Sequence[int | str]
) -> dict[str, Any]:
    """What the endpoint returns, for FastAPI to check and write."""
    names = [str(name) for name in classes]
    entries = []
    for node, row in zip(nodes, probabilities.tolist(), strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        entries.append(
            {
                "node": node,
                "source": "computed",
                "mode": "sampled",
                "label": classes[best],
                "score": row[best],
                "probabilities": dict(zip(names, row, strict=True)),
            }
        )
    return {"model": "default", "model_version": 1, "graph_version": 1, "predictions": entries}


def serve_plainly(app: FastAPI) -> None:
    """Serve on a free port, said on stdout."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, access_log=False, log_level="warning")
        server = uvicorn.Server(config)
        started = server.startup

        async def startup(sockets: Any = None) -> None:
            await started(sockets)
            print(f"serving on http://127.0.0.1:{sock.getsockname()[1]}", flush=True)

        server.startup = startup  # type: ignore[method-assign]
        server.run([sock])
