"""A model card (Mitchell et al. 2019): what a model is and how good it is, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn.calibration import Calibration
from gnn.certify import Certificate
from gnn.class_report import ClassReport
from gnn.data import Data
from gnn.measure import Measured
from gnn.metrics import THRESHOLD
from gnn.tasks import WITHOUT_OUTPUTS
from gnn.train_config import CLASS_TASKS
from sampling import Dataset
from sampling.graph.collection import GraphCollection
from sampling.graph.meta import UNLABELED, LabelInfo

__all__ = ["data_facts", "model_card", "with_certificate"]

MAX_CLASSES = 50
MAX_NAME = 80
SYMMETRY, TRAINING = "## Symmetry", "## Training"

Cells = Sequence[object]


def model_card(
    info: Mapping[str, Any],
    measured: Measured,
    *,
    facts: Sequence[str] = (),
    picture: str | None = None,
) -> str:
    """Markdown about a model that is not certified; `with_certificate` says more.

    Args:
        info: the content of `model.json`.
        measured: its quality.
        facts: lines about the data that it was trained on.
        picture: file of the learning curve, where there is one.
    """
    config = info["config"]
    sections = [
        f"# {info['name']}, version {info['version']}",
        f"A {config['conv']} model with {config['num_layers']} layers for {info['task']}, "
        f"trained on graph {_name(info['graph_name'])}, version {info['graph_version']} "
        f"(fingerprint `{info['graph_fingerprint']}`), on {info['created']}.",
        "## Data",
        *(["\n".join(f"- {fact}" for fact in facts)] if facts else []),
        *_sizes(measured.sizes),
        "## Metrics",
        _metric_table(measured.metrics),
        *_targets(measured.targets),
        *_classes(measured.classes, info["classes"]),
        *_calibration(measured.calibration),
        "## Input and output",
        f"Reads {config['d_in']} features per node and {config['num_layers']} hops of "
        f"in-neighbors. Gives {_outputs(info)}.",
        SYMMETRY,
        _symmetry(None),
        TRAINING,
        *([f"![Loss and metrics over the epochs]({picture})"] if picture else []),
        _settings({**config, **info["training"]}),
        "## Limits",
        "The metrics hold for data drawn like those above. On others, or "
        "when features are made differently, measure again before relying on the model.",
    ]
    return "\n\n".join(sections) + "\n"


def with_certificate(card: str, certificate: Certificate | None) -> str:
    """A card whose section on symmetry says what this certificate says.

    Args:
        card: any card; one without that section stays as it is.
        certificate: the newest, or None where there is none.
    """
    head, start, rest = card.partition(f"\n\n{SYMMETRY}\n\n")
    _, end, tail = rest.partition(f"\n\n{TRAINING}\n\n")
    return head + start + _symmetry(certificate) + end + tail if end else card


def data_facts(data: Data) -> list[str]:
    """What a reader should know of the data: counts, types, features, labels."""
    if isinstance(data, GraphCollection):
        nodes, meta = data.nodes, data.meta
        facts = [f"{data.num_graphs} graphs, {meta.num_nodes} nodes, {meta.num_edges} edges"]
        facts += _schema_facts(nodes)
        if data.labels is not None and data.labels.ndim == 2:
            named = zip(meta.target_names, data.labels.T, strict=True)
            return facts + [f"{_name(name)}: {fact}" for name, column in named
                            for fact in _label_facts(column, meta.labels, "graphs")]  # fmt: skip
        return facts + _label_facts(data.labels, meta.labels, "graphs")
    graph = data.graph
    facts = [f"{graph.num_nodes} nodes, {graph.num_edges} edges"]
    return facts + _schema_facts(data) + _label_facts(data.labels, data.meta.labels, "nodes")


def _schema_facts(data: Dataset) -> list[str]:
    graph, features, facts = data.graph, data.features, []
    if len(graph.node_types) > 1:
        types = [f"{_name(t.name)} {t.num_nodes}" for t in graph.node_types]
        facts.append(f"node types: {_listed(types)}")
    if len(graph.edge_types) > 1:
        facts.append(f"edge types: {_listed([_name(name) for name in graph.edge_types])}")
    if features is not None:
        facts.append(f"{features.dim} features per node, stored as {features.storage}")
    return facts


def _label_facts(labels: NDArray[Any] | None, info: LabelInfo | None, what: str) -> list[str]:
    if labels is None:
        return []
    if info is not None and info.kind == "multi":
        known = labels[labels[:, 0] != UNLABELED]
        return [f"{len(known)} {what} with labels: {_counted(info, known.sum(axis=0))}"]
    if info is None or info.kind != "class":
        known = labels[np.isfinite(labels)]
        if not len(known):
            return []
        return [f"{len(known)} {what} with a target, {known.min():.4g} to {known.max():.4g}, "
                f"mean {known.mean(dtype=np.float64):.4g}"]  # fmt: skip
    known = labels[labels >= 0]
    counts = np.bincount(known, minlength=len(info.classes))
    return [f"{len(known)} {what} with a label: {_counted(info, counts)}"]


def _counted(info: LabelInfo, counts: NDArray[Any]) -> str:
    return _listed([f"{_name(name)} {n}" for name, n in zip(info.classes, counts, strict=False)])


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - MAX_CLASSES} more" if len(texts) > MAX_CLASSES else ""
    return ", ".join(texts[:MAX_CLASSES]) + more


def _sizes(sizes: Mapping[str, int]) -> list[str]:
    if not sizes:
        return []
    return [f"Labeled: {', '.join(f'{part} {count}' for part, count in sizes.items())}."]


def _metric_table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    names = sorted({name for values in metrics.values() for name in values})
    rows = [[part, *(_number(values.get(name)) for name in names)]
            for part, values in metrics.items()]  # fmt: skip
    return _table(["part", *names], rows)


def _targets(targets: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    if not targets:
        return []
    part, found = list(targets.items())[-1]
    more = f", the first {MAX_CLASSES} of {len(found)}" if len(found) > MAX_CLASSES else ""
    names = sorted({name for values in found.values() for name in values})
    rows = [[_name(target), *(_number(values.get(name)) for name in names)]
            for target, values in list(found.items())[:MAX_CLASSES]]  # fmt: skip
    return [
        f"### Targets\n\nOn the {part} part{more}. The metrics above are means over the targets.",
        _table(["target", *names], rows),
    ]


def _classes(report: ClassReport | None, names: Sequence[int | str]) -> list[str]:
    if report is None:
        return []
    columns = {"precision": report.precision, "recall": report.recall, "f1": report.f1}
    if report.average_precision is not None:
        columns["average precision"] = report.average_precision
    rows = [
        [_name(names[c]), *(_number(column[c]) for column in columns.values()), report.support[c]]
        for c in range(min(len(names), MAX_CLASSES))
    ]
    more = f", the first {MAX_CLASSES} of {len(names)}" if len(names) > MAX_CLASSES else ""
    table = _table(["class", *columns, "support"], rows)
    if report.shown is None or report.confusion is None:
        return [
            f"### Labels\n\nOn the {report.part} part{more}. A label is predicted where its "
            f"probability is above {THRESHOLD:g}.",
            table,
        ]
    shown = [_name(names[c]) for c in report.shown]
    few = len(shown) < len(names)
    which = f" The {len(shown)} most frequent of {len(names)} classes." if few else ""
    confusion = [[name, *row] for name, row in zip(shown, report.confusion.tolist(), strict=True)]
    return [
        f"### Classes\n\nOn the {report.part} part{more}.",
        table,
        f"### Confusion\n\nRows are true classes, columns predicted ones.{which}",
        _table(["", *shown], confusion),
    ]


def _calibration(calibration: Calibration | None) -> list[str]:
    if calibration is None:
        return []
    holds = (
        "all others, since there was too little to measure on"
        if calibration.threshold is None
        else f"labels of calibrated probability {1 - calibration.threshold:.4f} or more"
    )
    rows = [
        ["temperature", _number(calibration.temperature)],
        ["expected calibration error", _number(calibration.error_before)],
        ["the same with the temperature", _number(calibration.error_after)],
    ]
    return [
        "### Calibration",
        _table(["", "value"], rows),
        f"Prediction sets hold the most probable label and {holds}. For data drawn like the "
        f"{calibration.num_nodes} that this was measured on, they miss the label at most "
        f"{calibration.alpha:.0%} of the time. `probabilities` are those before the temperature.",
    ]


def _outputs(info: Mapping[str, Any]) -> str:
    classes = info["classes"]
    if info["task"] in WITHOUT_OUTPUTS:
        scores = ", and a score for a pair of them" if info["config"]["decoder"] != "none" else ""
        return f"embeddings of nodes{scores}"
    if info["task"] not in CLASS_TASKS:
        return "real values"
    many = "any" if info.get("label_kind") == "multi" else "one"
    return f"{many} of {len(classes)} classes: {_listed([_name(name) for name in classes])}"


def _symmetry(certificate: Certificate | None) -> str:
    if certificate is None:
        return "Not certified when it was saved; `gnn certify` measures it."
    scope = "the whole graph" if certificate.whole_graph else "a sampled part of the graph"
    scope = "random graphs of its inputs" if certificate.random_graph else scope
    verdict = "Certified" if certificate.passed else "**Not certified**"
    text = (
        f"{verdict} on {scope} ({certificate.num_nodes} nodes, {certificate.num_edges} edges; "
        f"{certificate.renumberings} random numberings). Largest change of any output, relative "
        f"to the largest output; at most {certificate.tolerance:g} passes:"
    )
    rows = [[name, _error(error)] for name, error in certificate.errors.items()]
    return f"{text}\n\n{_table(['changed', 'error'], rows)}"


def _table(header: Cells, rows: Sequence[Cells]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _name(name: object) -> str:
    """A name that others chose, as code that ends where it should."""
    text = " ".join(str(name)[:MAX_NAME].split())
    return f"`{text.replace('`', '´').replace('|', '¦')}`"


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.4f}"


def _error(error: float | None) -> str:
    return "not finite" if error is None else f"{error:.1e}"


def _settings(settings: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in sorted(settings.items()))
