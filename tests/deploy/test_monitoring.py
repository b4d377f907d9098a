"""What is watched exists: a real server exports every metric of dashboard and alerts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from inprocess import in_process
from world import make_world

ROOT = Path(__file__).resolve().parent.parent.parent
PROMETHEUS = ROOT / "deploy/prometheus"
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/gnn-service.json").read_text())
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}
OF_PROMETHEUS = {"job", "instance", "le", "alertname", "alertstate"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, set[str]]:
    """What a server says on /metrics after a prediction, and its routes."""
    world = make_world(tmp_path_factory.mktemp("monitored"))
    with in_process(world.settings(embeddings=world.embeddings)) as app:
        assert app.post("/v1/nodes/predict", json={"nodes": [105]}).status_code == 200
        paths = app.get("/openapi.json").json()["paths"]
        return app.get("/metrics").text, set(paths)


@pytest.fixture(scope="module")
def exported(served: tuple[str, set[str]]) -> dict[str, str]:
    """The name of every series that a server exports, with the metric that it belongs to."""
    return {
        family.name + suffix: family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(served[0])
        if not family.name.endswith("_created")  # when a series began: Prometheus asks for none
        for suffix in SUFFIXES[family.type]
    }


def documented() -> dict[str, set[str]]:
    """Metrics and their labels, as docs/rest.md has them."""
    text = (ROOT / "docs/rest.md").read_text().split("## Metrics")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(gnn_\w+)` \| (.*?) \|", text, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression, with the alert or panel that it is of."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        yield variable["name"], variable["query"]["query"]


every_expression = pytest.mark.parametrize(
    ("where", "expr"), [pytest.param(*pair, id=f"{i}-{pair[0]}") for i, pair in
                        enumerate(expressions())],
)  # fmt: skip


def names_in(expr: str) -> set[str]:
    return set(re.findall(r"\bgnn_\w+", expr))


@every_expression
def test_every_expression_reads_metrics_that_a_server_exports(
    where: str, expr: str, exported: dict[str, str]
):
    assert names_in(expr) <= exported.keys()
    assert names_in(expr) or where == "GnnDown" or "up{" in expr


@every_expression
def test_every_label_belongs_to_a_metric_of_its_expression(
    where: str, expr: str, exported: dict[str, str]
):
    labels = documented()
    known = OF_PROMETHEUS.union(*(labels[exported[name]] for name in names_in(expr)))
    matched = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expr))
    grouped = {name for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expr)
               for name in re.split(r",\s*", group)}  # fmt: skip
    assert matched | grouped <= known


def test_the_documents_list_the_metrics_that_a_server_exports(exported: dict[str, str]):
    assert set(exported.values()) == documented().keys()


def test_routes_that_are_watched_exist(served: tuple[str, set[str]]):
    watched = {route for _, expr in expressions()
               for route in re.findall(r'route="([^"]+)"', expr)}  # fmt: skip
    assert watched
    assert watched <= served[1]


def test_every_alert_has_a_section_in_the_runbook():
    text = (ROOT / "docs/operations.md").read_text()
    sections = re.findall(r"^### (Gnn\w+)$", text, re.MULTILINE)
    alerts = [rule["alert"] for rule in RULES]
    assert sections == alerts
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_alerts_fire_on_what_they_are_for_and_are_silent_on_health():
    promtool("check", "config", "prometheus.yml")
    promtool("test", "rules", "rules_test.yml")


def test_every_alert_is_fired_by_the_rule_tests():
    fired: set[str] = set()
    for case in yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]:
        for expected in case.get("alert_rule_test", []):
            fired |= {expected["alertname"]} if expected.get("exp_alerts") else set()
        for expected in case.get("promql_expr_test", []):
            labels = " ".join(sample["labels"] for sample in expected["exp_samples"])
            fired |= set(re.findall(r'alertname="(\w+)"', labels))
    assert fired == {rule["alert"] for rule in RULES}


# --- in a cluster ------------------------------------------------------------------------------

KUBERNETES = ROOT / "deploy/kubernetes"


def test_the_metric_of_the_autoscaler_is_one_that_a_server_exports(exported: dict[str, str]):
    scaler = yaml.safe_load((KUBERNETES / "base/autoscaler.yaml").read_text())
    adapter = yaml.safe_load((KUBERNETES / "adapter.yaml").read_text())
    read = {metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"]
            if metric["type"] == "Pods"}  # fmt: skip
    rules = adapter["rules"]["custom"]
    made = {match[0] for rule in rules if (match := re.match(r"gnn_\w+", rule["seriesQuery"]))}
    assert read == made
    assert read
    assert read <= exported.keys()
    assert all(rule["name"] == {"matches": "^(.*)$", "as": "${1}"} for rule in rules)


def relabeled(labels: dict[str, str]) -> dict[str, str] | None:
    """A discovered pod after the rules of deploy/prometheus/kubernetes.yml; None where dropped."""
    [job] = yaml.safe_load((PROMETHEUS / "kubernetes.yml").read_text())["scrape_configs"]
    labels = {"job": "kubernetes-pods", "__metrics_path__": "/", **labels}
    for rule in job["relabel_configs"]:
        value = ";".join(labels.get(name, "") for name in rule["source_labels"])
        found = re.fullmatch(rule.get("regex", "(.*)"), value)
        if rule.get("action") == "keep":
            if found is None:
                return None
        elif found is not None:
            template = re.sub(r"\$(\d)", r"\\\1", rule.get("replacement", "$1"))
            labels[rule["target_label"]] = found.expand(template)
    return {name: value for name, value in labels.items() if not name.startswith("__meta_")}


def test_discovery_in_a_cluster_gives_the_labels_that_rules_and_autoscaler_read(tmp_path: Path):
    # Debian's Prometheus knows no clusters, so the rest of the file is checked
    text = (PROMETHEUS / "kubernetes.yml").read_text()
    assert "kubernetes_sd_configs: [{ role: pod }]" in text
    copy = text.replace("kubernetes_sd_configs: [{ role: pod }]", "static_configs: []")
    (tmp_path / "kubernetes.yml").write_text(copy)
    shutil.copy(PROMETHEUS / "rules.yml", tmp_path)
    promtool("check", "config", str(tmp_path / "kubernetes.yml"))
    template = yaml.safe_load((KUBERNETES / "base/deployment.yaml").read_text())["spec"]["template"]
    pod = {"__meta_kubernetes_pod_ip": "10.0.0.7", "__meta_kubernetes_namespace": "prod",
           "__meta_kubernetes_pod_name": "gnn-service-1"}  # fmt: skip
    for kind in ("annotation", "label"):
        for name, value in template["metadata"][f"{kind}s"].items():
            pod[f"__meta_kubernetes_pod_{kind}_" + re.sub(r"\W", "_", name)] = value
    assert relabeled(pod) == {
        "job": "gnn", "__metrics_path__": "/metrics", "__address__": "10.0.0.7:8000",
        "namespace": "prod", "pod": "gnn-service-1",
    }  # fmt: skip
    assert relabeled(pod | {"__meta_kubernetes_pod_label_app_kubernetes_io_name": "x"}) is None
    jobs = {name for _, expr in expressions() for name in re.findall(r'up\{job="(\w+)"', expr)}
    assert jobs == {"gnn"}
    [job] = yaml.safe_load((PROMETHEUS / "kubernetes.yml").read_text())["scrape_configs"]
    assert job["job_name"] == "gnn"


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_one_that_grafana_provisions():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    source = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text()
    )["datasources"][0]
    used = {target["datasource"]["uid"] for panel in DASHBOARD["panels"]
            for target in panel.get("targets", [])}  # fmt: skip
    assert used == {source["uid"]}
    assert overlapping(DASHBOARD["panels"]) == []


def overlapping(panels: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of panels that share a cell of the grid."""
    taken: dict[tuple[int, int], str] = {}
    pairs = []
    for panel in panels:
        at = panel["gridPos"]
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"])
                     for y in range(at["y"], at["y"] + at["h"])):  # fmt: skip
            if cell in taken:
                pairs.append((taken[cell], panel["title"]))
            taken[cell] = panel["title"]
    return pairs
