"""Settings: bounded, described, documented, and carried to worker processes unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings

DOCS = Path(__file__).parent.parent.parent / "docs/settings.md"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_has_a_sentence_and_stands_in_the_document_with_its_default(name):
    field = Settings.model_fields[name]
    assert field.description
    assert field.description.endswith(".")
    default = "" if field.is_required() or field.default is None else f"`{field.default}`"
    default = default.replace("`True`", "`true`").replace("`False`", "`false`")
    assert f"| `GNN_{name.upper()}` | {default} | {field.description} |" in DOCS.read_text()


def test_the_document_lists_no_setting_that_is_gone():
    listed = [line.split("`")[1] for line in DOCS.read_text().splitlines() if "| `GNN_" in line]
    assert listed == [f"GNN_{name.upper()}" for name in Settings.model_fields]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70000),
        ("workers", 0),
        ("max_body_bytes", 0),
        ("header_timeout_s", 0),
        ("queue_limit", -1),
        ("log_level", "loud"),
        ("cache_bytes", -1),
    ],
)
def test_a_value_out_of_bounds_is_refused_at_the_start(name, value):
    with pytest.raises(ValidationError, match=name):
        Settings(graph="g", models="m", **{name: value})


def test_settings_reach_a_worker_through_its_environment(monkeypatch):
    given = Settings(graph="g", models="m", port=9, verify_graph=False, max_wait_ms=0.5)
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == given


def test_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("GNN_GRAPH", "/data/g")
    monkeypatch.setenv("GNN_MODELS", "/data/m")
    monkeypatch.setenv("GNN_QUEUE_LIMIT", "7")
    settings = Settings()
    assert settings.graph == Path("/data/g")
    assert settings.queue_limit == 7


def test_an_empty_path_of_embeddings_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GNN_EMBEDDINGS", "")
    assert Settings(graph=Path("g"), models=Path("m")).embeddings is None
    monkeypatch.setenv("GNN_EMBEDDINGS", "table")
    assert Settings(graph=Path("g"), models=Path("m")).embeddings == Path("table")


def test_the_drain_delay_is_for_those_whom_a_balancer_may_look_at():
    given = {"graph": "g", "models": "m"}
    assert Settings(**given).drain_s == 0
    assert Settings(**given, host="::1").drain_s == 0
    assert Settings(**given, host="0.0.0.0", uds="s").drain_s == 0
    assert Settings(**given, host="0.0.0.0").drain_s == 5
    assert Settings(**given, host="10.0.0.7", drain_delay_s=0).drain_s == 0
    assert Settings(**given, drain_delay_s=2).drain_s == 2
