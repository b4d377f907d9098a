"""The manifests: rendered by kustomize, valid to the letter, and confined as they promise."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
OVERLAYS = ("cpu", "gpu", "worker")
VERSION = "1.31"
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    folder = ROOT / "deploy/kubernetes/overlays" / overlay
    done = subprocess.run(
        ["kustomize", "build", str(folder)], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(done.stdout))


def named(overlay: str, kind: str, name: str) -> dict[str, Any]:
    return next(
        one for one in rendered(overlay) if (one["kind"], one["metadata"]["name"]) == (kind, name)
    )


def pods(overlay: str) -> list[dict[str, Any]]:
    """The pod template of everything that runs."""
    return [one["spec"]["template"] for one in rendered(overlay)
            if one["kind"] in ("Deployment", "StatefulSet")]  # fmt: skip


def settings_of(overlay: str) -> dict[str, str]:
    return next(one["data"] for one in rendered(overlay) if one["kind"] == "ConfigMap")


@every_overlay
def test_every_object_is_valid_with_no_field_to_spare(overlay: str):
    for one in rendered(overlay):
        kubernetes_validate.validate(one, VERSION, strict=True)


@every_overlay
def test_every_container_is_confined(overlay: str):
    for pod in pods(overlay):
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"]:
            inner = container["securityContext"]
            assert inner["readOnlyRootFilesystem"] is True
            assert inner["allowPrivilegeEscalation"] is False
            assert inner["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys()


@every_overlay
def test_what_containers_mount_is_there(overlay: str):
    claims = {one["metadata"]["name"] for one in rendered(overlay)
              if one["kind"] == "PersistentVolumeClaim"}  # fmt: skip
    made = {template["metadata"]["name"] for one in rendered(overlay)
            if one["kind"] == "StatefulSet"
            for template in one["spec"]["volumeClaimTemplates"]}  # fmt: skip
    for pod in pods(overlay):
        volumes = pod["spec"].get("volumes", [])
        mounted = {mount["name"] for container in pod["spec"]["containers"]
                   for mount in container["volumeMounts"]}  # fmt: skip
        assert mounted == {volume["name"] for volume in volumes} | (mounted & made)
        used = {volume["persistentVolumeClaim"]["claimName"] for volume in volumes
                if "persistentVolumeClaim" in volume}  # fmt: skip
        assert used <= claims


@every_overlay
def test_settings_are_ones_that_the_service_has(overlay: str):
    known = {f"GNN_{name.upper()}" for name in Settings.model_fields}
    values = settings_of(overlay)
    assert values.keys() <= known
    Settings(**{name.removeprefix("GNN_").lower(): value for name, value in values.items()})
    own = {entry["name"] for pod in pods(overlay) for container in pod["spec"]["containers"]
           for entry in container.get("env", [])}  # fmt: skip
    assert own - {"REDIS_PASSWORD"} <= known


@every_overlay
def test_a_pod_may_drain_before_it_is_killed(overlay: str):
    values, pod = settings_of(overlay), named(overlay, "Deployment", "gnn-service")
    needed = float(values["GNN_DRAIN_DELAY_S"]) + float(values["GNN_DRAIN_TIMEOUT_S"])
    template = pod["spec"]["template"]["spec"]
    assert template["terminationGracePeriodSeconds"] >= needed + 5
    probe = template["containers"][0]["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < float(values["GNN_DRAIN_DELAY_S"])


@every_overlay
def test_graphs_and_models_are_read_only_for_those_that_serve(overlay: str):
    for pod in pods(overlay):
        for container in pod["spec"]["containers"]:
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            for path in ("/data/graphs", "/data/models"):
                assert path not in mounts or mounts[path]["readOnly"] is True


@every_overlay
def test_selectors_find_their_pods(overlay: str):
    labels = [pod["metadata"]["labels"] for pod in pods(overlay)]
    for one in rendered(overlay):
        if one["kind"] == "Service":
            wanted = one["spec"]["selector"]
        elif one["kind"] in ("PodDisruptionBudget", "Deployment", "StatefulSet"):
            wanted = one["spec"]["selector"]["matchLabels"]
        elif one["kind"] == "NetworkPolicy":
            wanted = one["spec"]["podSelector"]["matchLabels"]
        else:
            continue
        assert sum(wanted.items() <= found.items() for found in labels) == 1, one["metadata"]


@every_overlay
def test_every_pod_has_a_policy_of_the_network(overlay: str):
    chosen = [one["spec"]["podSelector"]["matchLabels"] for one in rendered(overlay)
              if one["kind"] == "NetworkPolicy"]  # fmt: skip
    for pod in pods(overlay):
        found = pod["metadata"]["labels"]
        assert any(wanted.items() <= found.items() for wanted in chosen), found


def test_a_password_stands_before_the_address_that_holds_it():
    for pod in pods("worker"):
        names = [entry["name"] for entry in pod["spec"]["containers"][0].get("env", [])]
        if "GNN_REDIS_URL" in names:
            assert names.index("REDIS_PASSWORD") < names.index("GNN_REDIS_URL")


def test_jobs_are_taken_only_where_workers_run_them():
    assert settings_of("cpu")["GNN_MAX_QUEUED_JOBS"] == "0"
    assert settings_of("gpu")["GNN_MAX_QUEUED_JOBS"] == "0"
    assert settings_of("worker")["GNN_MAX_QUEUED_JOBS"] != "0"
    assert named("worker", "Deployment", "gnn-worker")


def test_a_gpu_is_asked_for_and_the_image_has_cuda():
    container = named("gpu", "Deployment", "gnn-service")["spec"]["template"]["spec"]["containers"]
    assert container[0]["image"] == "gnn-service:cuda"
    assert container[0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    for overlay in ("cpu", "worker"):
        assert "nvidia.com/gpu" not in str(rendered(overlay))
