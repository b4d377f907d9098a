"""A model card (Mitchell et al. 2019): what a model is and how good it is, on one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gnn.certify import Certificate

__all__ = ["model_card"]

MAX_CLASSES = 50


def model_card(
    info: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, float]],
    certificate: Certificate | None = None,
) -> str:
    """Markdown about a model.

    Args:
        info: the content of `model.json`.
        metrics: per part, by name.
        certificate: of symmetry, where one was made.
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
        "## Symmetry",
        _symmetry(certificate),
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
    return f"one of {len(classes)} classes: {shown}{more}"


def _symmetry(certificate: Certificate | None) -> str:
    if certificate is None:
        return "Not certified; `gnn certify` measures it."
    scope = "the whole graph" if certificate.whole_graph else "a sampled part of the graph"
    verdict = "Certified" if certificate.passed else "**Not certified**"
    lines = [
        f"{verdict} on {scope} ({certificate.num_nodes} nodes, {certificate.num_edges} edges; "
        f"{certificate.renumberings} random numberings). Largest change of any output, relative "
        f"to the largest output; at most {certificate.tolerance:g} passes:",
        "",
        "| changed | error |",
        "| --- | --- |",
    ]
    return "\n".join(lines + [f"| {name} | {_error(e)} |"
                              for name, e in certificate.errors.items()])  # fmt: skip


def _error(error: float | None) -> str:
    return "not finite" if error is None else f"{error:.1e}"


def _settings(settings: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in sorted(settings.items()))
