"""The manifests: rendered by kustomize, valid to the letter, and confined as they promise."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.keys import KeyRing, new_key
from service.settings import Settings

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import make_world

ROOT = Path(__file__).resolve().parent.parent.parent
SERVING = ("cpu", "worker", "example")
VERSION = "1.31"
every_overlay = pytest.mark.parametrize("overlay", (*SERVING, "gpu", "fill"))
every_serving_overlay = pytest.mark.parametrize("overlay", SERVING)
PASSWORD = "0123456789abcdef"


@cache
def manifests() -> Path:
    """The manifests, with secrets where the overlay `example` says that they lie."""
    folder = Path(tempfile.mkdtemp(prefix="gnn-manifests-"))
    shutil.copytree(ROOT / "deploy/kubernetes", folder, dirs_exist_ok=True)
    (folder / "overlays/example/keys.txt").write_text(new_key("me", ["read"])[1] + "\n")
    (folder / "overlays/example/redis.env").write_text(f"password={PASSWORD}\n")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _without_leftovers() -> Iterator[None]:
    yield
    shutil.rmtree(manifests())


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    folder = manifests() / ("fill" if overlay == "fill" else f"overlays/{overlay}")
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
            if one["kind"] in ("Deployment", "StatefulSet", "Job")]  # fmt: skip


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


@every_serving_overlay
def test_settings_are_ones_that_the_service_has(overlay: str):
    known = {f"GNN_{name.upper()}" for name in Settings.model_fields}
    values = settings_of(overlay)
    assert values.keys() <= known
    Settings(**{name.removeprefix("GNN_").lower(): value for name, value in values.items()})
    own = {entry["name"] for pod in pods(overlay) for container in pod["spec"]["containers"]
           for entry in container.get("env", [])}  # fmt: skip
    assert own - {"REDIS_PASSWORD"} <= known


@every_serving_overlay
def test_a_pod_may_drain_before_it_is_killed(overlay: str):
    values, pod = settings_of(overlay), named(overlay, "Deployment", "gnn-service")
    needed = float(values["GNN_DRAIN_DELAY_S"]) + float(values["GNN_DRAIN_TIMEOUT_S"])
    template = pod["spec"]["template"]["spec"]
    assert template["terminationGracePeriodSeconds"] >= needed + 5
    probe = template["containers"][0]["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < float(values["GNN_DRAIN_DELAY_S"])


@every_serving_overlay
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
    assert settings_of("worker")["GNN_MAX_QUEUED_JOBS"] != "0"
    assert named("worker", "Deployment", "gnn-worker")


def test_only_training_asks_for_a_gpu_and_its_image_has_cuda():
    container = named("gpu", "Job", "gnn-train")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "gnn-service:cuda"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    for overlay in (*SERVING, "fill"):
        assert "nvidia.com/gpu" not in str(rendered(overlay))


def test_training_is_a_command_that_works_twice(tmp_path: Path):
    args = named("gpu", "Job", "gnn-train")["spec"]["template"]["spec"]["containers"][0]["args"]
    world = make_world(tmp_path)
    here = {"/data/graphs/live": str(world.graph), "cuda": "cpu",
            "/data/models/default": str(tmp_path / "models/trained")}  # fmt: skip
    for version in (1, 2):
        command = [*(here.get(word, word) for word in args), "--epochs", "1"]
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", *command], cwd=ROOT, check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"models/trained/{version}").is_dir()


def test_the_example_makes_every_secret_that_pods_read():
    made = {one["metadata"]["name"]: one["data"] for one in rendered("example")
            if one["kind"] == "Secret"}  # fmt: skip
    read = set()
    for pod in pods("example"):
        for container in pod["spec"]["containers"]:
            for entry in container.get("env", []):
                if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
                    read.add((reference["name"], reference["key"]))
        for volume in pod["spec"].get("volumes", []):
            if "secret" in volume:
                read.add((volume["secret"]["secretName"], "keys.txt"))
    assert read == {(name, key) for name, data in made.items() for key in data}
    values = {key: base64.b64decode(made[name][key]).decode() for name, key in read}
    assert values["password"] == PASSWORD  # without an end of line, which a URL could not hold
    assert len(KeyRing.parse(values["keys.txt"], "the secret")) == 1
    assert "gnn-keys" in made  # under its plain name: servers follow the file


@pytest.mark.parametrize("name", ["keys.txt", "redis.env"])
def test_git_takes_no_secret_of_an_overlay(name: str):
    path = f"deploy/kubernetes/overlays/mine/{name}"
    done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_the_graph_that_is_served_is_on_the_volume_under_its_name():
    assert settings_of("cpu")["GNN_GRAPH"] == "/data/graphs/live"
    mounts = {mount["mountPath"]: mount.get("subPath")
              for mount in named("cpu", "Deployment", "gnn-service")["spec"]["template"]["spec"]
              ["containers"][0]["volumeMounts"]}  # fmt: skip
    assert (mounts["/data/graphs"], mounts["/data/models"]) == ("graphs", "models")
    assert "graphs/live" in (ROOT / "deploy/kubernetes/fill/files.txt").read_text()


@pytest.mark.parametrize("overlay", ["worker", "example"])
def test_a_worker_is_asked_for_its_health(overlay: str):
    pod = named(overlay, "Deployment", "gnn-worker")["spec"]["template"]["spec"]
    for probe in ("startupProbe", "livenessProbe"):
        assert pod["containers"][0][probe]["exec"]["command"] == ["health"]
    assert "/usr/local/bin/health" in (ROOT / "docker/Dockerfile").read_text()
