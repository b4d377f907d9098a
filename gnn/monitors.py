"""The validation metric that chooses the best epoch, checked before there is a first one."""

from __future__ import annotations

from collections.abc import Collection

from gnn.train_config import TrainConfig
from sampling.errors import InputError

__all__ = ["monitor_of"]


def monitor_of(config: TrainConfig, own: str, measured: Collection[str]) -> str:
    """The metric that the configuration names, or the task's own.

    Args:
        config: of the training.
        own: the task's, on these data.
        measured: what validation measures on these data, "loss" included where it does.

    Raises:
        InputError: validation does not measure it.
    """
    monitor = config.monitor or own
    if monitor not in ("none", *measured):
        task = f"{'temporal ' if config.temporal else ''}{config.task}"
        raise InputError(
            f"monitor is {monitor!r}, which {task} does not measure on these data; choose one of "
            f"{', '.join((*measured, 'none'))}"
        )
    return monitor
