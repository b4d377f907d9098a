"""What the containers of docker-compose.yml are started with, for a given `.env`."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DEMO = "/data/graphs/demo"


def filled(text: str, given: dict[str, str]) -> str:
    """`${NAME:-default}` and `$$`, as Compose reads them."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else given.get(found[1]) or found[2]

    return re.sub(r"\$\$|\$\{(\w+):-([^}]*)\}", value, text)


def environment_of(name: str, **given: str) -> dict[str, str]:
    """Variables of a container; one without a value is handed on where it is set."""
    listed = SERVICES[name]["environment"]
    handed = {key: given[key] for key, value in listed.items() if value is None and key in given}
    return handed | {k: filled(v, given) for k, v in listed.items() if v is not None}


def started(name: str, folder: Path, **given: str) -> str:
    """What the container's command runs `gnn` with, after its environment."""
    program = folder / "gnn"
    program.write_text('#!/bin/sh\necho "$GNN_GRAPH|$GNN_EMBEDDINGS|$*"\n')
    program.chmod(0o755)
    [script] = SERVICES[name]["command"]
    assert SERVICES[name]["entrypoint"] == ["tini", "--", "sh", "-ec"]
    environment = environment_of(name, **given) | {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-ec", filled(script, given)], env=environment, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("given", "table"),
    [
        ({}, f"{DEMO}/embeddings"),
        ({"GNN_EMBEDDINGS": "/data/models/t"}, "/data/models/t"),
        ({"GNN_GRAPH": "/data/graphs/mine"}, ""),
        ({"GNN_GRAPH": "/data/graphs/mine", "GNN_EMBEDDINGS": ""}, ""),
        ({"GNN_GRAPH": "/data/graphs/mine", "GNN_EMBEDDINGS": "/data/models/t"}, "/data/models/t"),
    ],
)
def test_the_table_of_the_demo_is_served_with_the_graph_of_the_demo_alone(given, table, tmp_path):
    graph = given.get("GNN_GRAPH", f"{DEMO}/graph")
    assert started("service", tmp_path, **given) == f"{graph}|{table}|serve"


def test_another_graph_than_the_demos_makes_no_demo(tmp_path: Path):
    assert started("demo", tmp_path, GNN_GRAPH="/data/graphs/mine") == ""
    assert started("demo", tmp_path).endswith(f"|demo --keep {DEMO}")


def test_every_option_of_the_load_can_be_given_by_environment():
    listed = SERVICES["load"]["environment"]
    text = (ROOT / "load_tests/locustfile.py").read_text()
    assert listed.keys() == set(re.findall(r"\bLOAD_[A-Z0-9_]+", text))
    assert environment_of("load", LOAD_KEY="k", LOAD_MAX_P99_MS="9") == {
        "LOAD_RATE": "50", "LOAD_RECORDS": "/results/records.csv", "LOAD_KEY": "k",
        "LOAD_MAX_P99_MS": "9",
    }  # fmt: skip


def test_records_and_report_of_the_load_stay_in_a_volume_that_is_its_own():
    load = SERVICES["load"]
    assert "load:/results" in load["volumes"]
    assert "--html=/results/report.html" in load["command"]
    image = (ROOT / "docker/Dockerfile").read_text().split(" AS load\n")[1].split("FROM")[0]
    assert "chown 10001:10001 /results" in image


def test_green_is_the_service_on_another_port():
    blue, green = SERVICES["service"], SERVICES["green"]
    differing = {key for key in green.keys() | blue.keys() if green.get(key) != blue.get(key)}
    assert differing == {"profiles", "ports"}
    assert not set(green["ports"]) & set(blue["ports"])


def test_the_backup_of_the_runbook_holds_every_volume_that_is_not_made_again():
    volumes = {entry.split(":")[1] for name in ("service", "worker")
               for entry in SERVICES[name]["volumes"]}  # fmt: skip
    assert volumes <= {entry.split(":")[1] for entry in SERVICES["gnn"]["volumes"]}
    packed = " ".join(sorted(path.removeprefix("/data/") for path in volumes))
    assert packed == "graphs jobs models routing"
    assert (
        "-cf - graphs models jobs routing > data.tar" in (ROOT / "docs/operations.md").read_text()
    )
