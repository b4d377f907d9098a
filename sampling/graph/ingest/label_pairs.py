"""Several labels per node: files of (id, label) pairs become a row of zeros and ones per node."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sampling.errors import InputError, ParseError
from sampling.graph.edges import dense_nodes
from sampling.graph.ingest.config import Clock, IngestConfig, Reports
from sampling.graph.ingest.inputs import Inputs
from sampling.graph.ingest.numbering import id_kind_of
from sampling.graph.labels import UNLABELED, encode_labels, plain_labels
from sampling.graph.memory import MemoryBudget
from sampling.graph.meta import LabelInfo
from sampling.graph.nodes import Nodes
from sampling.graph.readers.source import NodeChunk, NodeSource

__all__ = ["with_label_pairs"]


@dataclass(slots=True)
class _Pairs:
    """Pairs as they gather."""

    nodes: list[NDArray[Any]] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)


def with_label_pairs(
    config: IngestConfig, inputs: Inputs, nodes: Nodes, budget: MemoryBudget
) -> Reports:
    """The nodes with labels from the files of pairs; returns them.

    A node in no pair has no label; one whose only label is empty is known to have none of them.

    Raises:
        InputError: nodes have labels already, a node is unknown, or there are no labels.
    """
    if nodes.labels is not None:
        raise InputError("labels come from the nodes file and from --labels; give one of them")
    pairs, clock, done = _Pairs(), Clock("labels"), 0
    for source in inputs.labels:
        for chunk in source.read(id_kind_of(nodes), inputs.chunk_rows):
            _gather(config, source, chunk, nodes, pairs)
            done += len(chunk.ids)
            yield clock.report(done)
    codes, info = encode_labels(pairs.labels)
    if codes is None or info is None or not info.classes:
        names = ", ".join(source.path.name for source in inputs.labels)
        raise InputError(f"{names} holds no labels; give pairs of a node id and a label")
    n, width = nodes.ids.num_nodes, len(info.classes)
    budget.reserve(n * width, f"labels of {n} nodes in {width} classes")
    rows = _rows(np.concatenate(pairs.nodes), codes, n, width)
    return replace(
        nodes, labels=rows, label_info=LabelInfo(kind="multi", classes=info.classes)
    )  # fmt: skip


def _gather(
    config: IngestConfig, source: NodeSource, chunk: NodeChunk, nodes: Nodes, pairs: _Pairs
) -> None:
    if chunk.label is None:
        raise ParseError(source.path, "has no column 'label'; name it with --label")
    if chunk.split is not None:
        raise ParseError(source.path, "has a split column beside its pairs of node and label; "
                         "give splits with the nodes, or with --splits")  # fmt: skip
    labels = plain_labels(chunk.label, chunk.first_row, source.path)
    if not isinstance(labels, pa.Array) and labels.dtype.kind == "f":
        raise ParseError(source.path, "has labels that are fractions; labels of a node are "
                         "integers or text")  # fmt: skip
    found = dense_nodes(nodes.ids, chunk.ids, config.threads)
    known = found >= 0
    if not known.all():
        if config.on_dangling != "drop":
            row = int(np.flatnonzero(~known)[0])
            key = chunk.ids[row].as_py() if isinstance(chunk.ids, pa.Array) else chunk.ids[row]
            raise ParseError(source.path, f"labels node {str(key)[:80]!r}, which is not in the "
                             "graph; correct it, or choose --on-dangling drop",
                             chunk.first_row + row)  # fmt: skip
        labels = labels.filter(pa.array(known)) if isinstance(labels, pa.Array) else labels[known]
    pairs.nodes.append(found[known])
    pairs.labels.append(labels)


def _rows(
    nodes: NDArray[Any], codes: NDArray[np.int64], num_nodes: int, width: int
) -> NDArray[np.uint8]:
    """1 for a label, 0 for none, and `UNLABELED` in all of a row without labels."""
    rows = np.full((num_nodes, width), UNLABELED, np.uint8)
    rows[nodes] = 0
    rows[nodes[codes >= 0], codes[codes >= 0]] = 1
    return rows
