"""Trainings written down: what a viewer reads back is what was reported."""

from __future__ import annotations

import builtins
import warnings
from pathlib import Path

import pytest

from gnn import TrainConfig, train
from gnn.errors import MissingPackageError
from gnn.tracking import tracking
from sampling.errors import InputError

CONFIG = TrainConfig(epochs=3, lr=0.1, lr_schedule="step", lr_every=1)
FINAL = {"test": {"accuracy": 0.75, "hits@10": 0.5}}


def run(target: str | None, data, model) -> list:
    reports = []
    with tracking(target, "m", {"lr": 0.1, "fanouts": None}) as log:
        for report in train(model, data, CONFIG):
            log.epoch(report)
            reports.append(report)
        log.final(FINAL)
    return reports


def test_event_files_hold_every_number_of_every_epoch(data, make_model, tmp_path: Path):
    reports = run(f"tensorboard:{tmp_path}", data, make_model())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path))
        events.Reload()

    def values(key: str) -> list[tuple[int, float]]:
        return [(e.step, pytest.approx(e.value, rel=1e-6)) for e in events.Scalars(key)]

    assert values("loss/train") == [(r.epoch, r.loss) for r in reports]
    assert values("loss/val") == [(r.epoch, r.metrics["val"]["loss"]) for r in reports]
    assert values("accuracy/val") == [(r.epoch, r.metrics["val"]["accuracy"]) for r in reports]
    assert values("lr") == [(1, 0.1), (2, 0.05), (3, 0.025)]
    assert values("final/accuracy/test") == [(3, 0.75)]
    assert "settings/text_summary" in events.Tags()["tensors"]


def test_mlflow_runs_hold_every_number_and_how_they_ended(
    data, make_model, tmp_path: Path, monkeypatch
):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file:{tmp_path}"
    reports = run(f"mlflow:{uri}", data, make_model())
    with pytest.raises(ZeroDivisionError), tracking(f"mlflow:{uri}", "m", {}):
        1 / 0  # noqa: B018
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("m")
    failed, done = client.search_runs([experiment.experiment_id])
    assert (failed.info.status, done.info.status) == ("FAILED", "FINISHED")
    kept = client.get_metric_history(done.info.run_id, "loss/train")
    assert [(m.step, m.value) for m in kept] == [(r.epoch, r.loss) for r in reports]
    assert done.data.params["lr"] == "0.1"
    assert done.data.metrics["final/hits_at_10/test"] == 0.5


def test_without_a_target_nothing_is_kept(data, make_model):
    assert len(run(None, data, make_model())) == 3


@pytest.mark.parametrize("target", ["tensorboard", "tensorboard:", "wandb:here", ":x", ""])
def test_an_unknown_target_is_refused(target):
    with pytest.raises(InputError, match="give tensorboard:DIRECTORY or mlflow:URI"):
        tracking(target, "m", {}).__enter__()


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_a_missing_package_is_named_with_a_remedy(package, monkeypatch, tmp_path):
    real = builtins.__import__

    def refuse(name: str, *arguments: object, **options: object):
        if name.startswith((package, "torch.utils.tensorboard")):
            raise ImportError(f"No module named {package!r}")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingPackageError, match=f"pip install {package}"):
        tracking(f"{package}:{tmp_path}", "m", {}).__enter__()
