"""A loop that is late is seen from outside, while it hangs and afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time

import pytest
from serving import serving
from world import World

from service.loop_watch import watched_loop
from service.telemetry import configure_logging


def lag_of(text: str) -> float:
    [value] = re.findall(r"^gnn_event_loop_lag_seconds (\S+)$", text, re.MULTILINE)
    return float(value)


def test_a_loop_that_hung_shows_in_metrics_and_health(world: World):
    with serving(world.settings()) as server:
        client, predictor = server.client, server.resources.predictor
        time.sleep(0.6)
        assert lag_of(client.get("/metrics").text) < 0.5
        find = predictor.data.ids.find

        class Slow:
            """Ids whose look-up hangs, on the loop as all few ids are."""

            def find(self, ids: object) -> object:
                time.sleep(0.8)
                return find(ids)

            def __getattr__(self, name: str) -> object:
                return getattr(ids, name)

        ids, data = predictor.data.ids, predictor.data
        object.__setattr__(data, "ids", Slow())
        try:
            assert client.get("/v1/graph/nodes/105").status_code == 200
        finally:
            object.__setattr__(data, "ids", ids)
        time.sleep(0.6)
        assert lag_of(client.get("/metrics").text) > 0.4
        assert client.get("/health/live").json()["checks"]["event_loop_lag_s"] > 0.4
        assert client.get("/health/ready").json()["checks"]["event_loop_lag_s"] > 0.4


def test_strangers_are_not_told(world: World):
    digest = hashlib.sha256(b"secret").hexdigest()
    with serving(world.settings(api_keys=f"reader:read:{digest}")) as server:
        assert server.client.get("/health/live").json()["checks"] == {}
        told = server.client.get("/health/live", headers={"x-api-key": "secret"}).json()
        assert "event_loop_lag_s" in told["checks"]


def test_a_loop_that_hangs_is_told_of_meanwhile(capsys: pytest.CaptureFixture[str]):
    async def main() -> None:
        with watched_loop(told.append):
            await asyncio.sleep(0.3)
            hang()

    def hang() -> None:
        time.sleep(1.6)
        during.extend(told)

    configure_logging("warning")
    told, during = list[float](), list[float]()
    asyncio.run(main())
    assert max(during) > 1.0, "told while it hangs, by the thread"
    assert re.search(r"test_loop_watch\.py:\d+ hang.*event_loop_stuck", capsys.readouterr().err)
