"""The application on a real socket in this process, so that a test can break what is inside."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn

from service.app import Resources, create_app
from service.server import _config
from service.settings import Settings

__all__ = ["Serving", "serving", "stages_of"]


@dataclass(frozen=True)
class Serving:
    """A client, and what answers it."""

    client: httpx.Client
    resources: Resources


@contextmanager
def serving(settings: Settings) -> Iterator[Serving]:
    settings = settings.model_copy(update={"port": 0, "log_level": "error"})
    app = create_app(settings)
    server = uvicorn.Server(_config(settings, app))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        ends = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < ends, "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield Serving(client, app.state.resources)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"


def stages_of(answer: httpx.Response) -> dict[str, float]:
    """The milliseconds of every stage that an answer names."""
    parts = answer.headers["server-timing"].split(", ")
    return {name: float(ms) for name, ms in (part.split(";dur=") for part in parts)}
