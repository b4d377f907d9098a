"""Searching for settings: a declared space, trials drawn by TPE, poor ones stopped early.

A space names fields of `TrainConfig` and `ModelConfig` (`model`, `hidden` and `layers` as `gnn
train` has them). A table `{low, high, log, step}` is a range, a list holds choices, anything else
is fixed. Trials are drawn by the tree-structured Parzen estimator (Bergstra et al. 2011) and
stopped when they fall behind the median of the others at the same epoch. Each trial's draws are
keyed by (seed, trials done), and all trials are in a journal of JSON lines: a search that was
stopped goes on as it would have.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from gnn.architecture import architecture_for
from gnn.data import Data
from gnn.errors import DivergedError, MissingPackageError, ResumeError, TrainingError
from gnn.metrics import LOWER_IS_BETTER
from gnn.model import build_model
from gnn.model_config import ModelConfig
from gnn.model_options import is_read
from gnn.starting import starting_recipe
from gnn.train import session_for, train
from gnn.train_config import TrainConfig
from sampling.errors import DamagedError, InputError
from sampling.kernels.reference import GOLDEN, MASK, mix

__all__ = ["Purpose", "Space", "Trial", "best_of", "monitor_of", "settings_of", "tune"]

ALIASES = {"hidden": "d_hidden", "layers": "num_layers", "model": "conv"}
LISTS = ("fanouts", "eval_fanouts", "split")
OPTIONS = {"task": "task", "seed": "seed", "num_threads": "threads", "device": "device"}
"""Fields that are options of the search itself."""
DICTATED = ("d_in", "d_out")
SETTLED = ("monitor", "temporal")
"""Fields that are the same in all trials, which could not be compared otherwise."""
RANGE_KEYS = {"low", "high", "log", "step"}
TRAIN_FIELDS = {field.name for field in fields(TrainConfig)}
MODEL_FIELDS = {field.name for field in fields(ModelConfig)}
MAX_CHOICES = 1000
STUDY = "gnn"
OF_ITSELF = "diverged"
"""Marks in the journal a trial that failed, and was not cut off."""

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What all trials have in common.

    Attributes:
        task: what is trained for.
        temporal: whether time is respected.
        seed: randomness of the search and of every training.
        num_threads: threads; torch's own setting when left out.
        device: where is trained.
    """

    task: str = "node-classification"
    temporal: bool = False
    seed: int = 0
    num_threads: int | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, integers where both are; even on a log scale with `log`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """What may be chosen, by name.

    Attributes:
        fixed: values that every trial has.
        choices: values to choose from.
        ranges: numbers to choose.
    """

    fixed: Settings
    choices: dict[str, list[Any]]
    ranges: dict[str, Range]

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Space:
        """A space from the content of a TOML file.

        Raises:
            InputError: names the key that is wrong, and why.
        """
        space = cls({}, {}, {})
        for key, value in content.items():
            _check_key(key)
            if isinstance(value, Mapping):
                space.ranges[key] = _range(key, value)
            elif isinstance(value, list) and (key not in LISTS or _nested(value)):
                if not 1 <= len(value) <= MAX_CHOICES:
                    raise InputError(f"{key} has {len(value)} choices; give 1 to {MAX_CHOICES}")
                space.choices[key] = value
            else:
                space.fixed[key] = value
        for key in SETTLED:
            if key in space.choices or key in space.ranges:
                raise InputError(f"{key} must be one value, as trials are compared by one metric")
        if not (space.choices or space.ranges):
            raise InputError("the space leaves nothing to choose; give a list or {low, high}")
        return space

    def check(self, data: Data, purpose: Purpose) -> None:
        """Refuse a value that no training takes.

        Raises:
            InputError: names its key.
        """
        self._check_one(data, purpose, self.lowest(), "the space")
        for key, bound in self.ranges.items():
            self._check_one(data, purpose, self._with(key, bound.high), key)
        for key, values in self.choices.items():
            for value in values:
                self._check_one(data, purpose, self._with(key, value), key)

    def lowest(self) -> Settings:
        """The settings of a trial that draws the first of all choices and the least of ranges."""
        return self._of_model(self._first())

    def _first(self) -> Settings:
        first = {key: values[0] for key, values in self.choices.items()}
        return {**self.fixed, **first, **{key: bound.low for key, bound in self.ranges.items()}}

    def _with(self, key: str, value: Any) -> Settings:
        """The settings of `lowest` but for one, with the first model that reads it."""
        reading = [{"model": model} for model in self._models if is_read(key, model)][:1]
        model = reading[0] if reading else {}
        return self._of_model({**self._first(), **model, key: value})

    @property
    def _models(self) -> list[str]:
        return [model for model in self.choices.get("model", []) if isinstance(model, str)]

    def _of_model(self, settings: Settings) -> Settings:
        """Without what the chosen model does not read and another one would."""
        conv = settings.get("model")
        if conv not in self._models:
            return settings
        unread = {key for key in settings if not is_read(key, conv)}
        others = {key for key in unread if any(is_read(key, model) for model in self._models)}
        return {key: value for key, value in settings.items() if key not in others}

    def _check_one(self, data: Data, purpose: Purpose, chosen: Settings, key: str) -> None:
        try:
            settings_of(data, purpose, chosen)
        except (TypeError, ValueError, InputError) as error:
            said = f" = {json.dumps(chosen[key])}" if key in chosen else ""
            raise InputError(f"{key}{said} cannot be trained with: {error}") from None

    def draw(self, trial: Any) -> Settings:
        """The settings of one Optuna trial."""
        drawn = dict(self.fixed)
        for key, values in self.choices.items():
            texts = [json.dumps(value) for value in values]  # Optuna keeps plain scalars only
            drawn[key] = json.loads(trial.suggest_categorical(key, texts))
        for key, r in self.ranges.items():
            if isinstance(r.low, int) and isinstance(r.high, int):
                drawn[key] = trial.suggest_int(key, r.low, r.high, log=r.log, step=r.step or 1)
            else:
                drawn[key] = trial.suggest_float(key, r.low, r.high, log=r.log, step=r.step)
        return self._of_model(drawn)

    def as_json(self) -> str:
        """The same space as text, to compare with."""
        ranges = {key: [r.low, r.high, r.log, r.step] for key, r in self.ranges.items()}
        return json.dumps([self.fixed, self.choices, ranges], sort_keys=True)


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


def settings_of(
    data: Data, purpose: Purpose, chosen: Mapping[str, Any]
) -> tuple[ModelConfig, TrainConfig]:
    """Architecture and training from names and values; the recipe has what is left out.

    Raises:
        InputError: a value is out of range.
        TrainingError: the data lack what the convolution or the task reads.
    """
    named = {ALIASES.get(key, key): value for key, value in chosen.items()}
    for key in LISTS:
        if not all(isinstance(item, int | float) for item in named.get(key) or ()):
            raise InputError(f"{key} must be a list of numbers")
    common = asdict(purpose)
    temporal = common["temporal"] = purpose.temporal or named.pop("temporal", False)
    conv, layers = named.pop("conv", "sage"), named.get("num_layers")
    recipe = starting_recipe(purpose.task, conv, data, layers, temporal=temporal)
    of_training = {key: named.pop(key) for key in list(named) if key in TRAIN_FIELDS}
    training = TrainConfig(**{**recipe.train, **of_training, **common})
    return architecture_for(purpose.task, data, recipe, named), training


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


def _check_key(key: str) -> None:
    name = ALIASES.get(key, key)
    if name in OPTIONS:
        raise InputError(
            f"the space names {key!r}, which is for all trials; give --{OPTIONS[name]}"
        )
    if name not in TRAIN_FIELDS | MODEL_FIELDS or name in DICTATED:
        raise InputError(f"the space names {key!r}; it takes settings of gnn train, as in lr")


def _nested(value: list[Any]) -> bool:
    return any(isinstance(item, list) for item in value)


def _range(key: str, table: Mapping[str, Any]) -> Range:
    if not {"low", "high"} <= table.keys() <= RANGE_KEYS:
        raise InputError(f"{key} has {', '.join(table) or 'nothing'}; a range has low and high, "
                         "and may have log and step")  # fmt: skip
    for name in ("low", "high", "step"):
        value = table.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{key} has {name} = {value!r}; give a number")
    found = Range(table["low"], table["high"], table.get("log") is True, table.get("step"))
    if not found.low < found.high:
        raise InputError(f"{key} runs from {found.low} to {found.high}; low must be below high")
    if found.log and (found.low <= 0 or found.step is not None):
        raise InputError(f"{key} is on a log scale, which needs a positive low and no step")
    if found.step is not None and found.step <= 0:
        raise InputError(f"{key} has step {found.step}; it must be positive")
    return found
