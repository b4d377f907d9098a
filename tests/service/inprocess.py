"""The application without a socket: for tests of answers, not of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from service.app import Resources, create_app
from service.settings import Settings

__all__ = ["InProcess", "in_process"]


class InProcess:
    """Requests to an application in this process, one after the other."""

    def __init__(self, runner: asyncio.Runner, client: httpx.AsyncClient, app: Any) -> None:
        self.runner, self.client, self.app = runner, client, app

    @property
    def resources(self) -> Resources:
        return self.app.state.resources

    def request(self, method: str, url: str, **given: Any) -> httpx.Response:
        return self.run(self.client.request(method, url, **given))

    def get(self, url: str, **given: Any) -> httpx.Response:
        return self.request("GET", url, **given)

    def post(self, url: str, **given: Any) -> httpx.Response:
        return self.request("POST", url, **given)

    def run(self, work: Any) -> Any:
        return self.runner.run(work)


@contextmanager
def in_process(settings: Settings) -> Iterator[InProcess]:
    app = create_app(settings.model_copy(update={"log_level": "warning"}))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    with asyncio.Runner() as runner:
        client = httpx.AsyncClient(transport=transport, base_url="http://test")
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            yield InProcess(runner, client, app)
        finally:
            runner.run(client.aclose())
            runner.run(lifespan.__aexit__(None, None, None))
