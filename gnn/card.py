"""A model card (Mitchell et al. 2019): what a model is and how good it is, on one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["model_card"]

MAX_CLASSES = 50


def model_card(info: Mapping[str, Any], metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown about a model.

    Args:
        info: the content of `model.json`.
        metrics: per part, by name.
    """
    config, training = info["config"], info["training"]
    sections = [
        f"# {info['name']}, version {info['version']}",
        f"A {config['conv']} model with {config['num_layers']} layers for {info['task']}, "
        f"trained on graph {info['graph_name']!r}, version {info['graph_version']} "
        f"(fingerprint `{info['graph_fingerprint']}`), on {info['created']}.",
        "## Metrics",
        _metric_table(metrics),
        "## Input and output",
        f"Reads {config['d_in']} features per node and {config['num_layers']} hops of "
        f"in-neighbors. Gives {_outputs(info)}.",
        "## Training",
        _settings({**config, **training}),
        "## Limits",
        "The metrics hold for nodes drawn like those of the graph above. On another graph, or "
        "when features are made differently, measure again before relying on the model.",
    ]
    return "\n\n".join(sections) + "\n"


def _metric_table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    names = sorted({name for values in metrics.values() for name in values})
    rows = [["part", *names], ["---"] * (len(names) + 1)]
    rows += [[part, *(_number(values.get(name)) for name in names)]
             for part, values in metrics.items()]  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _outputs(info: Mapping[str, Any]) -> str:
    classes = info["classes"]
    if info["task"] != "node-classification":
        return "one value per node"
    shown = ", ".join(f"`{str(name)[:80]}`" for name in classes[:MAX_CLASSES])
    more = f" and {len(classes) - MAX_CLASSES} more" if len(classes) > MAX_CLASSES else ""
    many = "any" if info.get("label_kind") == "multi" else "one"
    return f"{many} of {len(classes)} classes: {shown}{more}"


def _settings(settings: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in sorted(settings.items()))
