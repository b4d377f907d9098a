"""`python -m faults.hooked serve`: the service with hooks that no user has, to harm it from inside.

GET /hook/block?seconds=2     the event loop stands still
GET /hook/stick?seconds=2     the compute thread stands still, and has every batch
GNN_TEST_LEAK_BYTES=1024      every request leaves so many bytes behind
GNN_TEST_TILES=FILE           every tile that is written is a line there (`faults.hooked worker`)
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

import service.app
import service.server
from gnn.rowfile import RowFile
from service.app import create_app
from service.cli import main

__all__ = ["hooked_app"]

KEPT: list[bytes] = []
TILES = os.environ.get("GNN_TEST_TILES", "")
LEAK_BYTES = int(os.environ.get("GNN_TEST_LEAK_BYTES", "0"))


def hooked_app(*given: Any) -> Any:
    """The application with its hooks."""
    app = create_app(*given)

    @app.get("/hook/block", include_in_schema=False)
    async def block(seconds: float) -> Response:
        time.sleep(seconds)
        return Response()

    @app.get("/hook/stick", include_in_schema=False)
    async def stick(request: Request, seconds: float) -> Response:
        request.app.state.resources.batcher._thread.submit(time.sleep, seconds)
        return Response()

    if LEAK_BYTES:
        app.add_middleware(_Leaking)
    return app


class _Leaking:
    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            KEPT.append(os.urandom(LEAK_BYTES))
        await self.app(scope, receive, send)


def count_tiles(log: str) -> None:
    """Have every tile named in a file before it is written."""
    write = RowFile.write

    def named(file: RowFile, *given: Any) -> None:
        with Path(log).open("a") as out:
            out.write(f"{file.name} {file.rows_done}\n")
        write(file, *given)

    RowFile.write = named  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    if TILES:
        count_tiles(TILES)
    service.app.SMALL_EDGES = 0
    service.server.create_app = hooked_app  # type: ignore[assignment]
    main()
