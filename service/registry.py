"""The models that answer, opened once each and kept.

A model is found by name and version; `default` is an alias. A version other than the newest is
opened when it is first asked for. Its embedding table is used only while it is fresh: made by
exactly these weights (digest) on exactly this graph (fingerprint).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from gnn import (
    EmbeddingTable,
    SavedModel,
    list_models,
    list_versions,
    load_model,
    model_path,
    outputs,
)
from gnn.errors import UnknownModelError
from gnn.inputs import with_inputs
from gnn.reduce import reduce_inputs
from gnn.tasks import WITHOUT_OUTPUTS
from sampling import Dataset, FeatureTable, FullNeighborSampler, NeighborSampler
from sampling.errors import GnnError, InputError
from sampling.sampler import Sampler
from service.errors import ModelNotFoundError, VersionNotFoundError

__all__ = ["DEFAULT", "ModelRegistry", "ServedModel"]

DEFAULT = "default"
MAX_OPEN = 16
ROWS_AT_ONCE = 1 << 16

log = structlog.get_logger()


@dataclass(frozen=True, eq=False, slots=True)
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

    def outputs(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities or values from embeddings, (len(rows), d_out)."""
        with torch.inference_mode():
            logits = self.saved.model.head(torch.from_numpy(rows))
            out: NDArray[np.float32] = outputs(self.saved.info.task, logits).numpy()
        return out


class ModelRegistry:
    """Finds, opens and keeps models.

    Args:
        root: directory with one folder per model name.
        data: the graph that is served.
        table: an embedding table of any model, or None.
        default: the model that answers to `default`.
        num_threads: threads for sampling one batch.
        table_outputs_bytes: predictions to make of a table without, at most.

    Raises:
        InputError: there is no model, or no such default.
        GnnError: the default model cannot be opened.
    """

    def __init__(
        self,
        root: Path,
        data: Dataset,
        table: EmbeddingTable | None,
        default: str | None = None,
        num_threads: int = 1,
        table_outputs_bytes: int = 0,
    ) -> None:
        self.root, self.data, self.table, self.num_threads = root, data, table, num_threads
        self.table_outputs_bytes = table_outputs_bytes
        self.default = _default(root, list_models(root), default)
        self._open: OrderedDict[tuple[str, int], ServedModel] = OrderedDict()
        self._newest: dict[str, int] = {}
        self._lock = threading.RLock()
        self._open_newest()

    @property
    def names(self) -> list[str]:
        """Models that can be asked for, sorted."""
        return sorted(self._newest)

    def newest(self, name: str) -> int:
        """The version that answers when none is asked for.

        Raises:
            ModelNotFoundError: there is no such model.
        """
        return self._newest[self.resolve(name)]

    def versions(self, name: str) -> list[int]:
        """Versions of a model on disk, ascending."""
        return list(list_versions(self.root, self.resolve(name)))

    def resolve(self, name: str) -> str:
        """The model's own name, for a name or `default`.

        Raises:
            ModelNotFoundError: there is no such model.
        """
        own = self.default if name == DEFAULT and self.default else name
        if own not in self._newest:
            raise ModelNotFoundError(name, self.names)
        return own

    def opened(self, name: str, version: int | None = None) -> ServedModel | None:
        """The model if it is open already, without touching a file.

        Raises:
            ModelNotFoundError: there is no such model.
        """
        own = self.resolve(name)
        key = (own, version or self._newest[own])
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
            return self._open.get(key)

    def get(self, name: str, version: int | None = None) -> ServedModel:
        """The model, opened where it is not yet.

        Raises:
            ModelNotFoundError: there is no such model.
            VersionNotFoundError: there is no such version.
            GnnError: its files are damaged, or it does not fit the graph.
        """
        model = self.opened(name, version)
        if model is not None:
            return model
        own = self.resolve(name)
        wanted = version or self._newest[own]
        known = self.versions(own)
        if wanted not in known:
            raise VersionNotFoundError(own, wanted, known)
        return self._load(own, wanted)

    def _open_newest(self) -> None:
        for name in list_models(self.root):
            versions = list_versions(self.root, name)
            if not versions:
                continue
            self._newest[name] = versions[-1]
            try:
                self._load(name, versions[-1])
            except GnnError as error:
                if name == self.default or len(list_models(self.root)) == 1:
                    raise
                log.warning("model_unusable", model=name, reason=str(error))

    def _load(self, name: str, version: int) -> ServedModel:
        with self._lock:
            try:
                saved = load_model(model_path(self.root, name, version))
            except UnknownModelError:
                raise VersionNotFoundError(name, version, self.versions(name)) from None
            model = self._served(saved)
            self._open[name, version] = model
            while len(self._open) > max(MAX_OPEN, len(self._newest)):
                self._open.popitem(last=False)
            return model

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
        if self.table is None or not self._is_fresh(saved):
            return model
        return replace(model, table=self._with_outputs(model, self.table))

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

    def _is_fresh(self, saved: SavedModel) -> bool:
        if self.table is None:
            return False
        meta = self.table.meta
        made_by = (meta.model_digest, meta.graph_fingerprint)
        return made_by == (saved.info.digest, self.data.meta.fingerprint)


def _has_no_outputs(model: ServedModel) -> bool:
    """Whether embeddings are all that the model gives of a node."""
    return model.saved.info.task in WITHOUT_OUTPUTS


def _default(root: Path, names: list[str], wanted: str | None) -> str | None:
    """The model that answers to `default`: the one asked for, or named so, or the only one."""
    if not names:
        raise InputError(f"{root}: there is no model; train one with `gnn train GRAPH --out …`")
    if wanted is not None and wanted not in names:
        raise InputError(f"{root}: there is no model {wanted!r}; there is {', '.join(names)}")
    if wanted is not None:
        return wanted
    if DEFAULT in names:
        return DEFAULT
    return names[0] if len(names) == 1 else None
