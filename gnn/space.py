"""What a search may choose from: fields of a training and of its model, by name.

A space names fields of `TrainConfig` and `ModelConfig` (`model`, `hidden` and `layers` as `gnn
train` has them). A table `{low, high, log, step}` is a range, a list holds choices, anything else
is fixed. Where models are chosen from, each has the settings that it reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gnn.architecture import architecture_for
from gnn.data import Data
from gnn.model_config import ModelConfig
from gnn.model_options import is_read
from gnn.starting import starting_recipe
from gnn.train_config import TrainConfig
from sampling.errors import InputError

__all__ = ["Purpose", "Settings", "Space", "settings_of"]

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
