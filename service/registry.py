"""The models of the nodes and links of one graph, opened once each and kept.

A model's embedding table is used only while it is fresh: made by exactly these weights (digest) on
exactly this graph (fingerprint).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gnn import EmbeddingTable, SavedModel, outputs
from gnn.inputs import with_inputs
from gnn.reduce import reduce_inputs
from gnn.tasks import GRAPH_TASKS, WITHOUT_OUTPUTS
from sampling import Dataset, FeatureTable, FullNeighborSampler, NeighborSampler
from sampling.errors import InputError
from sampling.sampler import Sampler
from service.model_index import ModelIndex, open_saved
from service.repository import ModelRepository, check_routes
from service.routing import DEFAULT, Routing

__all__ = ["DEFAULT", "ModelRegistry", "ServedModel"]

ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class ServedModel:
    """One version of one model, ready to answer.

    Attributes:
        saved: weights and manifest.
        inputs: the rows that it reads of the graph's nodes.
        table: rows for every node, or None where there is no fresh table.
        exact: all neighbors, all layers.
        sampled: the model's fanouts.
        lower_exact: all neighbors, all layers but the last; None under one layer.
        lower_sampled: the same with the model's fanouts.
    """

    saved: SavedModel
    inputs: FeatureTable
    table: EmbeddingTable | None
    exact: Sampler
    sampled: Sampler
    lower_exact: Sampler | None
    lower_sampled: Sampler | None

    @property
    def name(self) -> str:
        return self.saved.info.name

    @property
    def version(self) -> int:
        return self.saved.info.version

    @property
    def num_layers(self) -> int:
        return self.saved.model.config.num_layers

    @property
    def classes(self) -> list[int] | list[str] | None:
        """Names of the classes, or None where real values are predicted."""
        info = self.saved.info
        return info.classes if info.task == "node-classification" else None

    @property
    def has_many_labels(self) -> bool:
        """Whether a node may have any number of the classes."""
        return self.classes is not None and self.saved.info.label_kind == "multi"

    def outputs(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities or values from embeddings, (len(rows), d_out)."""
        with torch.inference_mode():
            logits = self.saved.model.head(torch.from_numpy(rows))
            info = self.saved.info
            out: NDArray[np.float32] = outputs(info.task, logits, info.label_kind).numpy()
        return out


class ModelRegistry(ModelRepository[ServedModel]):
    """Finds, opens and keeps models of nodes and links.

    Args:
        root: directory with one folder per model name.
        data: the graph that is served.
        table: an embedding table of any model, or None.
        default: the model that answers to `default`.
        num_threads: threads for sampling one batch.
        table_outputs_bytes: predictions to make of a table without, at most.
        routing: which version answers to which name.
        allow_modules: modules that a model may import a convolution from.
        require_certificate: refuse models without a certificate that passed.
        only: open no model but this one.

    Raises:
        InputError: there is no model, or no such default.
        GnnError: the default model cannot be opened.
    """

    subject = "nodes or links"

    def __init__(
        self,
        root: Path,
        data: Dataset,
        table: EmbeddingTable | None,
        default: str | None = None,
        num_threads: int = 1,
        table_outputs_bytes: int = 0,
        routing: Routing | None = None,
        allow_modules: Sequence[str] = (),
        require_certificate: bool = False,
        only: str | None = None,
    ) -> None:
        self.allow_modules, self.require_certificate = allow_modules, require_certificate
        self.data, self.table, self.num_threads = data, table, num_threads
        self.table_outputs_bytes = table_outputs_bytes
        self._published: dict[str, EmbeddingTable] = {}
        index, routing = ModelIndex(root), routing or Routing()
        super().__init__(index, routing, default, only)
        _check_default(index, default)
        check_routes(index, routing)
        self.follow(routing, lambda model: None)
        self._check_answers()

    def serve_table(self, table: EmbeddingTable) -> bool:
        """Answer from a table that was published, in place of the one published before.

        Of every version there is one. Requests under way keep the model, and with it the table,
        that they began with.

        Returns:
            Whether an open model answers from it: made by its weights on this graph.
        """
        if table.meta.graph_fingerprint != self.data.meta.fingerprint:
            return False
        with self._lock:
            self._published[table.meta.model_digest] = table
            return self._set_tables(table.meta.model_digest)

    def drop_table(self, digest: str) -> None:
        """Forget the table that was published for the model of a digest."""
        with self._lock:
            if self._published.pop(digest, None) is not None:
                self._set_tables(digest)

    def _set_tables(self, digest: str) -> bool:
        """Give the open models of a digest their table; whether one has it now."""
        served = False
        for key, model in self._open.items():
            if model.saved.info.digest == digest:
                self._open[key] = self._with_table(replace(model, table=None))
                served = served or self._open[key].table is not None
        return served

    def _serves(self, task: str | None) -> bool:
        """All but those for whole graphs, which need no stored graph."""
        return task not in GRAPH_TASKS

    def _load(self, name: str, version: int) -> ServedModel:
        certified = self.require_certificate
        return self._served(open_saved(self.root, name, version, self.allow_modules, certified))

    def _check_answers(self) -> None:
        """Refuse to start where the default model, or the only one, cannot answer."""
        names = list(self.listed)
        name = self.default or (names[0] if len(names) == 1 else None)
        if name is not None and self.only in (None, name):
            self.opened(name)

    def _served(self, saved: SavedModel) -> ServedModel:
        data = with_inputs(self.data, saved.model.config)
        assert data.features is not None, "with_inputs sees to it"
        graph, threads = data.graph, self.num_threads
        fanouts, layers = saved.info.fanouts, saved.model.num_layers
        model = ServedModel(
            saved,
            data.features,
            None,
            FullNeighborSampler(graph, layers, threads),
            reduce_inputs(NeighborSampler(graph, fanouts, 0, threads), saved.model, data),
            FullNeighborSampler(graph, layers - 1, threads) if layers > 1 else None,
            NeighborSampler(graph, fanouts[:-1], 0, threads) if layers > 1 else None,
        )
        return self._with_table(model)

    def _with_table(self, model: ServedModel) -> ServedModel:
        """The model with the table that was made by it on this graph, the published one first."""
        for table in (self._published.get(model.saved.info.digest), self.table):
            if table is not None and self._is_fresh(table, model.saved):
                return replace(model, table=self._with_outputs(model, table))
        return model

    def _with_outputs(self, model: ServedModel, table: EmbeddingTable) -> EmbeddingTable:
        """The table with predictions in memory, where it has none and they are not too large."""
        num_rows, width = len(table.embeddings), model.saved.model.config.d_out
        if _has_no_outputs(model) or table.predictions is not None:
            return table
        if num_rows * width * 4 > self.table_outputs_bytes:
            return table
        out = np.empty((num_rows, width), np.float32)
        for start in range(0, num_rows, ROWS_AT_ONCE):
            end = min(start + ROWS_AT_ONCE, num_rows)
            out[start:end] = model.outputs(table.rows(np.arange(start, end)))
        return replace(table, predictions=out)

    def _is_fresh(self, table: EmbeddingTable, saved: SavedModel) -> bool:
        meta = table.meta
        made_by = (meta.model_digest, meta.graph_fingerprint)
        return made_by == (saved.info.digest, self.data.meta.fingerprint)


def _has_no_outputs(model: ServedModel) -> bool:
    """Whether embeddings are all that the model gives of a node."""
    return model.saved.info.task in WITHOUT_OUTPUTS


def _check_default(index: ModelIndex, wanted: str | None) -> None:
    """Refuse a directory without models, and a default that is none of them.

    Raises:
        InputError: it is so.
    """
    names = sorted(index.look())
    if not names:
        raise InputError(
            f"{index.root}: there is no model; train one with `gnn train GRAPH --out …`"
        )
    if wanted is not None and wanted not in names:
        raise InputError(f"{index.root}: there is no model {wanted!r}; there is {', '.join(names)}")
