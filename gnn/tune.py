"""Searching for settings: trials drawn from a space by TPE, poor ones stopped early.

Trials are drawn by the tree-structured Parzen estimator (Bergstra et al. 2011) and stopped when
they fall behind the median of the others at the same epoch. Each trial's draws are keyed by
(seed, trials done), and all trials are in a journal of JSON lines: a search that was stopped goes
on as it would have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from gnn.data import Data
from gnn.errors import DivergedError, MissingPackageError, ResumeError, TrainingError
from gnn.metrics import LOWER_IS_BETTER
from gnn.model import build_model
from gnn.model_config import ModelConfig
from gnn.space import Purpose, Settings, Space, settings_of
from gnn.train import session_for, train
from gnn.train_config import TrainConfig
from sampling.errors import DamagedError, InputError
from sampling.kernels.reference import GOLDEN, MASK, mix

__all__ = ["Trial", "best_of", "monitor_of", "tune"]

STUDY = "gnn"
OF_ITSELF = "diverged"
"""Marks in the journal a trial that failed, and was not cut off."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of the search.

    Attributes:
        number: from 0.
        state: "complete", "pruned" or "failed" (the loss was no number, or the settings exclude
            each other).
        value: the best score in validation; None where there is none.
        settings: what it was trained with, by name.
    """

    number: int
    state: str
    value: float | None
    settings: Settings


def monitor_of(data: Data, space: Space, purpose: Purpose) -> str:
    """The metric of validation that trials are compared by: that of a training.

    Raises:
        InputError: a value cannot be trained with, or there is no validation to choose by.
        TrainingError: the data lack what training reads.
    """
    space.check(data, purpose)
    architecture, training = settings_of(data, purpose, space.lowest())
    monitor = session_for(build_model(architecture), data, training).monitor
    if monitor == "none":
        raise InputError("monitor must be one metric of validation, to compare trials by, and it "
                         "is 'none'; name one, and give val a share")  # fmt: skip
    return monitor


def tune(
    data: Data,
    space: Space,
    journal: Path,
    *,
    purpose: Purpose | None = None,
    monitor: str | None = None,
    trials: int = 20,
    timeout_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Trial]:
    """Trials until there are `trials`, those in the journal included.

    Args:
        data: a graph or a collection.
        space: what may be chosen.
        journal: file of all trials; continued where it is there.
        purpose: what all trials have in common.
        monitor: what `monitor_of` gave, which is asked when this is left out.
        trials: how many.
        timeout_s: no trial begins after this many seconds.
        clock: seconds.

    Raises:
        InputError: a value cannot be trained with, or there is no validation to choose by.
        ResumeError: the journal belongs to another search.
        MissingPackageError: Optuna is not installed.
    """
    optuna = _optuna()
    purpose = purpose or Purpose()
    monitor, seed = monitor or monitor_of(data, space, purpose), purpose.seed
    identity = asdict(purpose) | {"space": space.as_json()}
    del identity["num_threads"], identity["device"]
    study = _study(optuna, journal, monitor, identity)
    ends, done = None if timeout_s is None else clock() + timeout_s, _finished(study)
    yield from done
    for number in range(len(done), trials):
        if ends is not None and clock() >= ends:
            return
        study.sampler = optuna.samplers.TPESampler(seed=mix((seed * GOLDEN + number) & MASK) >> 32)
        trial = study.ask()
        chosen = space.draw(trial)
        trial.set_user_attr("settings", chosen)
        try:
            configs = settings_of(data, purpose, {**chosen, "monitor": monitor})
        except (InputError, TrainingError):  # each value was checked: these exclude each other
            yield _failed(optuna, study, trial, chosen)
            continue
        yield _run(optuna, study, trial, data, configs, monitor, chosen)


def _run(
    optuna: Any,
    study: Any,
    trial: Any,
    data: Data,
    configs: tuple[ModelConfig, TrainConfig],
    monitor: str,
    chosen: Settings,
) -> Trial:
    states, better = optuna.trial.TrialState, min if monitor in LOWER_IS_BETTER else max
    torch.manual_seed(configs[1].seed)
    value: float | None = None
    try:
        for report in train(build_model(configs[0]), data, configs[1]):
            score = report.metrics["val"][monitor]
            value = score if value is None else better(value, score)
            trial.report(value, report.epoch)
            if trial.should_prune():
                study.tell(trial, state=states.PRUNED)
                return Trial(trial.number, "pruned", value, chosen)
    except DivergedError:
        return _failed(optuna, study, trial, chosen)
    study.tell(trial, value)
    return Trial(trial.number, "complete", value, chosen)


def _failed(optuna: Any, study: Any, trial: Any, chosen: Settings) -> Trial:
    trial.set_user_attr(OF_ITSELF, True)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return Trial(trial.number, "failed", None, chosen)


def _study(optuna: Any, journal: Path, monitor: str, identity: dict[str, Any]) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name=STUDY,
            load_if_exists=True,
            direction="minimize" if monitor in LOWER_IS_BETTER else "maximize",
            pruner=optuna.pruners.MedianPruner(),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(journal.parent, journal.name, f"cannot be read ({error})") from None
    for key, value in identity.items():
        if study.user_attrs.setdefault(key, value) != value:
            raise ResumeError(journal, [key])
        study.set_user_attr(key, value)
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _finished(study: Any) -> list[Trial]:
    """Trials of the journal that came to their end; what a kill cut off is drawn again."""
    names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    found = []
    for trial in study.get_trials():
        cut_off = trial.state.name == "FAIL" and OF_ITSELF not in trial.user_attrs
        if trial.state.name in names and not cut_off:
            settings = trial.user_attrs["settings"]
            found.append(Trial(trial.number, names[trial.state.name], trial.value, settings))
    return found


def best_of(trials: list[Trial], lower: bool) -> Trial:
    """The complete trial with the best score, the first of equals.

    Raises:
        TrainingError: none is complete.
    """
    complete = [t for t in trials if t.state == "complete" and t.value is not None]
    if not complete:
        raise TrainingError("no trial came to its end; give more --trials, or milder settings")
    sign = 1 if lower else -1
    return min(complete, key=lambda t: (sign * (t.value or 0.0), t.number))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingPackageError("optuna", error, "`pip install optuna`") from None
    return optuna
