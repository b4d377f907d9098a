"""Which settings of a training are read by which task: one that would be ignored is refused.

A setting at its default is never refused, so that a configuration can be carried over to another
task; `num_negatives` and the like, which recipes set, stand at theirs for tasks without them.
"""

from __future__ import annotations

from sampling.errors import InputError

__all__ = ["CLASS_TASKS", "check_is_read"]

CLASS_TASKS: tuple[str, ...] = ("node-classification", "graph-classification")
LINKS = "link-prediction"
NODE_TASKS = ("node-classification", "node-regression")
GRAPH_TASKS = ("graph-classification", "graph-regression")
READERS: dict[str, tuple[str, ...]] = {
    "class_weights": CLASS_TASKS,
    "balanced_seeds": CLASS_TASKS,
    "focal_gamma": CLASS_TASKS,
    "label_smoothing": CLASS_TASKS,
    "conformal_alpha": CLASS_TASKS,
    "split_index": (*NODE_TASKS, *GRAPH_TASKS, "unsupervised"),
    "max_train_seeds": (*NODE_TASKS, LINKS),
    "num_negatives": (LINKS, "unsupervised"),
    "link_loss": (LINKS,),
    "n3_decay": (LINKS,),
    "temperature": (LINKS,),
    "exclude_targets": (LINKS,),
    "objective": ("unsupervised",),
}
IN_TIME = ("strategy",)
NOT_IN_TIME = ("n3_decay", "temperature", "exclude_targets")


def check_is_read(name: str, value: object, default: object, task: str, temporal: bool) -> None:
    """Refuse a setting that a training would ignore.

    Args:
        name: a field of `TrainConfig`.
        value: what it is.
        default: what it is where nobody says.
        task: a key of `gnn.tasks.TASKS`.
        temporal: whether time is respected.

    Raises:
        InputError: names the setting and what it is for.
    """
    if value == default:
        return
    if name in READERS and task not in READERS[name]:
        raise InputError(
            f"{name} is {value} and the task {task}; it is for {' and '.join(READERS[name])}"
        )
    if name == "eval_fanouts" and not (task in NODE_TASKS or (task == LINKS and temporal)):
        raise InputError(f"eval_fanouts is {value}; {task} is evaluated with all neighbors, so "
                         "leave it out")  # fmt: skip
    if name in IN_TIME and not temporal:
        raise InputError(f"{name} is {value}, which temporal training alone reads; leave it out, "
                         "or pass --temporal (temporal=True)")  # fmt: skip
    if name in NOT_IN_TIME and temporal:
        raise InputError(f"{name} is {value}, which temporal training does not read; leave it out")
