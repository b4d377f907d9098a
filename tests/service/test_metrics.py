"""Metrics move with what they count."""

from __future__ import annotations

import asyncio

import pytest
from inprocess import InProcess, in_process
from world import World

from service import layered


def metrics(service: InProcess) -> dict[str, float]:
    lines = service.get("/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def moved(service: InProcess, name: str, before: dict[str, float]) -> float:
    return metrics(service)[name] - before.get(name, 0.0)


def tier(name: str, layer: str, outcome: str) -> str:
    return f'gnn_tier_rows_total{{layer="{layer}",outcome="{outcome}",tier="{name}"}}'


def ask(service: InProcess, nodes: list[int], **body: object) -> int:
    body = {"nodes": nodes, "mode": "exact", **body}
    return service.post("/v1/nodes/predict", json=body).status_code


def test_caches_are_counted_by_tier_and_layer(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(layered, "LEAST_EDGES", 0)
    with in_process(world.settings(hidden_cache_bytes=1 << 20)) as service:
        before = metrics(service)
        assert ask(service, [105, 106, 105]) == 200
        assert moved(service, tier("memory", "last", "miss"), before) == 2
        assert moved(service, tier("hidden", "0", "miss"), before) > 0
        assert tier("hidden", "0", "hit") not in metrics(service)
        assert ask(service, [105]) == 200
        assert moved(service, tier("memory", "last", "hit"), before) == 1
        service.resources.predictor.cache.__init__(1 << 20)  # type: ignore[misc]  # forgets
        assert ask(service, [105, 106]) == 200
        assert moved(service, tier("hidden", "0", "hit"), before) > 0
        assert metrics(service)["gnn_hidden_cache_bytes"] > 0
        for stage in ("queue", "sample", "gather", "compute"):
            assert moved(service, f'gnn_stage_seconds_count{{stage="{stage}"}}', before) >= 2
        for hop in "012":
            assert moved(service, f'gnn_frontier_nodes_count{{hop="{hop}"}}', before) >= 1
        assert moved(service, "gnn_sampled_edges_total", before) > 0
        assert moved(service, "gnn_batch_nodes_sum", before) == 4
        assert moved(service, "gnn_batch_cost_edges_sum", before) > 4


def test_nodes_that_a_fresh_table_would_have_answered_are_counted(world: World):
    with in_process(world.settings()) as service:
        before = metrics(service)
        assert before['gnn_table_fresh{model="default"}'] == 0
        assert ask(service, [105, 106], mode="auto") == 200
        assert ask(service, [105, 106], mode="exact") == 200
        assert moved(service, "gnn_without_table_total", before) == 2
    with in_process(world.settings(embeddings=world.embeddings)) as service:
        before = metrics(service)
        assert before['gnn_table_fresh{model="default"}'] == 1
        assert ask(service, [105, 106], mode="auto") == 200
        assert moved(service, "gnn_without_table_total", before) == 0


def test_refusals_of_a_full_queue_are_counted(world: World):
    with in_process(world.settings(queue_limit=1, cache_bytes=0)) as service:
        before = metrics(service)

        async def many() -> list[int]:
            bodies = [{"nodes": [105 + i], "mode": "exact"} for i in range(5)]
            asked = [service.client.post("/v1/nodes/predict", json=body) for body in bodies]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

        statuses = service.run(many())
        assert 200 in statuses
        refused = statuses.count(503)
        assert refused > 0
        assert moved(service, 'gnn_refused_total{where="queue"}', before) == refused
        assert metrics(service)["gnn_queue_depth"] == 0
        assert metrics(service)["gnn_queue_cost_edges"] == 0
