"""Searching for settings: the same trials twice, resumed or not; bad spaces are refused by key."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path

import pytest

from gnn.errors import MissingPackageError, ResumeError, TrainingError
from gnn.space import Purpose, Space, settings_of
from gnn.tune import Trial, best_of, tune
from sampling import GraphStore
from sampling.errors import DamagedError, InputError
from service.cli import main

SPACE = {
    "lr": {"low": 1e-3, "high": 0.3, "log": True},
    "hidden": [4, 8],
    "fanouts": [[2, 2], [3, 3]],
    "layers": 2,
    "epochs": 2,
    "dropout": {"low": 0.0, "high": 0.5},
}


def search(data, journal: Path, trials: int = 5, **options) -> list[Trial]:
    space = Space.parse(options.pop("space", SPACE))
    purpose = Purpose(num_threads=1, seed=options.pop("seed", 0))
    return list(tune(data, space, journal, trials=trials, purpose=purpose, **options))


@pytest.fixture
def whole(data, tmp_path) -> list[Trial]:
    return search(data, tmp_path / "whole" / "journal.log")


def test_trials_stay_inside_the_space_and_differ(whole):
    assert [trial.number for trial in whole] == list(range(5))
    assert {trial.state for trial in whole} <= {"complete", "pruned"}
    for trial in whole:
        assert 1e-3 <= trial.settings["lr"] <= 0.3
        assert trial.settings["hidden"] in (4, 8)
        assert trial.settings["fanouts"] in ([2, 2], [3, 3])
        assert trial.settings["epochs"] == 2
        assert 0 <= trial.value <= 1
    assert len({trial.settings["lr"] for trial in whole}) == 5


def test_a_search_that_was_stopped_goes_on_as_it_would_have(data, whole, tmp_path):
    journal = tmp_path / "journal.log"
    first = tune(data, Space.parse(SPACE), journal, trials=5, purpose=Purpose(num_threads=1))
    next(first)
    next(first)
    first.close()
    assert search(data, journal) == whole
    assert search(data, journal) == whole


def test_a_trial_that_a_kill_cut_off_is_drawn_again(data, whole, tmp_path):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = tmp_path / "journal.log"
    search(data, journal, trials=2)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    optuna.load_study(study_name="gnn", storage=storage).ask()
    resumed = search(data, journal)
    assert [t.settings for t in resumed] == [t.settings for t in whole]
    assert [t.value for t in resumed] == [t.value for t in whole]


def test_a_journal_of_another_search_is_refused(data, tmp_path):
    journal = tmp_path / "journal.log"
    search(data, journal, trials=1)
    with pytest.raises(ResumeError, match="another space"):
        search(data, journal, space={**SPACE, "epochs": 3})
    with pytest.raises(ResumeError, match="another seed"):
        search(data, journal, seed=3)


def test_a_damaged_journal_is_named(data, tmp_path):
    journal = tmp_path / "journal.log"
    journal.write_text("{not json\n{}\n")
    with pytest.raises(DamagedError, match=r"journal\.log"):
        search(data, journal, trials=1)


def test_no_trial_begins_after_the_timeout(data, tmp_path):
    times = iter([0.0, 1.0, 5.0, 11.0])
    found = search(data, tmp_path / "j", trials=9, timeout_s=10, clock=lambda: next(times))
    assert len(found) == 2


def test_a_trial_whose_loss_is_no_number_fails_and_the_search_goes_on(data, tmp_path):
    found = search(data, tmp_path / "j", trials=4, space={**SPACE, "lr": [0.01, 1e30]})
    states = {(t.settings["lr"], t.state == "failed") for t in found}
    assert states == {(0.01, False), (1e30, True)}
    assert search(data, tmp_path / "j", 4, space={**SPACE, "lr": [0.01, 1e30]}) == found


def test_the_best_trial_has_the_best_score_and_is_the_first_of_equals():
    trials = [
        Trial(0, "complete", 0.5, {}),
        Trial(1, "pruned", 0.9, {}),
        Trial(2, "complete", 0.7, {}),
        Trial(3, "complete", 0.7, {}),
        Trial(4, "failed", None, {}),
    ]
    assert best_of(trials, lower=False).number == 2
    assert best_of(trials, lower=True).number == 0
    with pytest.raises(TrainingError, match="no trial came to its end"):
        best_of(trials[1:2], lower=False)


@pytest.mark.parametrize(
    ("space", "what"),
    [
        ({"rate": [1, 2]}, "'rate'"),
        ({"seed": [1, 2]}, "'seed', which is for all trials; give --seed"),
        ({"device": "cpu", "lr": [0.1, 0.2]}, "give --device"),
        ({"d_out": [1, 2]}, "'d_out'; it takes settings"),
        ({"temporal": [True, False]}, "temporal must be one value"),
        ({"monitor": ["loss", "accuracy"]}, "monitor must be one value"),
        ({"monitor": "mrr", "lr": [0.1, 0.2]}, "monitor is 'mrr'"),
        ({"monitor": "micro_f1@k", "lr": [0.1, 0.2]}, "does not measure on these data"),
        ({"model": ["sage", "module:no_such_thing:make"], "monitor": "none"}, "monitor must be"),
        ({"lr": {"low": 0.1}}, "lr has low; a range has low and high"),
        ({"lr": {"low": 0.1, "high": 0.2, "base": 2}}, "lr has low, high, base"),
        ({"lr": {"low": 1.0, "high": 0.1}}, "lr runs from 1.0 to 0.1"),
        ({"lr": {"low": 0.0, "high": 0.1, "log": True}}, "lr is on a log scale"),
        ({"lr": {"low": "a", "high": 0.1}}, "lr has low = 'a'"),
        ({"lr": {"low": float("nan"), "high": 0.1}}, "lr runs from nan"),
        ({"lr": []}, "lr has 0 choices"),
        ({"lr": 0.1}, "nothing to choose"),
        ({"lr": [0.1, -1.0]}, "lr = -1.0 cannot be trained with"),
        ({"lr": [0.1, "fast"]}, 'lr = "fast" cannot be trained with'),
        ({"hidden": {"low": 4, "high": 2**30}}, "hidden = 1073741824 cannot"),
        ({"model": ["sage", "magic"]}, 'model = "magic" cannot be trained with'),
        ({"fanouts": [[2, 2], [2, "x"]]}, "fanouts"),
        ({"model": ["gcn", 3]}, "model = 3 cannot be trained with"),
        ({"model": "gcn", "heads": [1, 2]}, "heads = 2 cannot be trained with"),
        ({"model": ["gcn", "sage"], "heads": [1, 2]}, "heads = 2 cannot be trained with"),
        ({"model": ["gcn", "gat"], "heads": [1, 7]}, "heads = 7 cannot be trained with"),
        ({"monitor": "none", "lr": [0.1, 0.2]}, "monitor must be"),
    ],
)
def test_a_bad_space_is_refused_by_its_key(space, what, data, tmp_path):
    with pytest.raises(InputError) as caught:
        search(data, tmp_path / "j", 1, space=space)
    assert what in str(caught.value)
    assert not (tmp_path / "j").exists()


def test_settings_that_exclude_each_other_end_their_trial_and_not_the_search(data, tmp_path):
    space = {"model": "gcn", "hidden": 4, "norm": ["layer", "none"], "norm_first": [False, True]}
    found = search(data, tmp_path / "j", 8, space=space)
    unfit = [t.settings["norm_first"] and t.settings["norm"] == "none" for t in found]
    assert any(unfit) and not all(unfit)
    assert [t.state == "failed" for t in found] == unfit
    assert search(data, tmp_path / "j", 8, space=space) == found


@pytest.mark.parametrize("models", [["gcn", "gat"], ["gat", "gcn"]])
def test_a_trial_has_the_settings_that_its_model_reads(models, data, tmp_path):
    space = {"model": models, "heads": [2, 4], "hidden": 8, "alpha": 0.1, "epochs": 1}
    found = search(data, tmp_path / "j", 8, space=space)
    assert {trial.state for trial in found} <= {"complete", "pruned"}
    assert {trial.settings["model"] for trial in found} == {"gcn", "gat"}
    assert all(("heads" in t.settings) == (t.settings["model"] == "gat") for t in found)
    assert search(data, tmp_path / "j", 8, space=space) == found


def test_names_of_the_command_line_are_those_of_the_configuration(data):
    chosen = {"model": "gcn", "hidden": 7, "layers": 1, "lr": 0.2}
    model, training = settings_of(data, Purpose(seed=5), chosen)
    assert (model.conv, model.d_hidden, model.num_layers) == ("gcn", 7, 1)
    assert (training.lr, training.seed) == (0.2, 5)


def test_a_missing_optuna_is_named(data, monkeypatch, tmp_path):
    real = builtins.__import__

    def refuse(name: str, *arguments: object, **options: object):
        if name.startswith("optuna"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingPackageError, match="pip install optuna"):
        search(data, tmp_path / "j", 1)


def test_the_command_writes_the_best_model_and_says_what_it_tried(data, tmp_path, capsys):
    GraphStore.write(tmp_path / "graph", data)
    (tmp_path / "space.toml").write_text(
        "lr = {low = 0.01, high = 0.1, log = true}\nhidden = [4, 8]\nepochs = 2\n"
    )
    arguments = ["tune", tmp_path / "graph", "--out", tmp_path / "models/m", "--space",
                 tmp_path / "space.toml", "--trials", 2, "--threads", 1, "--json"]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    assert not ended.value.code
    said = json.loads(capsys.readouterr().out)
    assert (said["version"], len(said["trials"])) == (1, 2)
    best = said["trials"][said["best_trial"]]
    assert best["value"] == max(t["value"] for t in said["trials"] if t["state"] == "complete")
    assert said["metrics"]["val"]["accuracy"] == pytest.approx(best["value"])
    assert sorted(p.name for p in (tmp_path / "models/m").iterdir()) == ["1"]


def test_a_convolution_of_the_users_own_can_be_among_the_choices(data, tmp_path, monkeypatch):
    (tmp_path / "searched_layers.py").write_text(
        "from gnn.conv.sage import SAGEConv\n\n\n"
        "def make(config, layer):\n"
        "    return SAGEConv(layer.d_in, layer.d_out)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "searched_layers", None)
    del sys.modules["searched_layers"]
    own = "module:searched_layers:make"
    found = search(data, tmp_path / "j", 1, space={"model": [own], "epochs": 1, "hidden": 4})
    assert found[0].settings["model"] == own
