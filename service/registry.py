"""The models that answer, opened once each and kept.

A model is found by name and version; `default` and the aliases of the settings are other names. A
version other than the newest is opened when it is first asked for; `refresh` follows the directory.
A model's embedding table is used only while it is fresh: made by exactly these weights (digest) on
exactly this graph (fingerprint).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
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
from service.graph_predictor import is_for_graphs

__all__ = ["DEFAULT", "ModelRegistry", "ServedModel"]

DEFAULT = "default"
MAX_OPEN = 16
INFO = "model.json"
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


class ModelRegistry:
    """Finds, opens and keeps models.

    Args:
        root: directory with one folder per model name.
        data: the graph that is served.
        table: an embedding table of any model, or None.
        default: the model that answers to `default`.
        num_threads: threads for sampling one batch.
        table_outputs_bytes: predictions to make of a table without, at most.
        aliases: other names, as in `canary=fraud@3,live=fraud`.
        allow_modules: modules that a model may import a convolution from.
        require_certificate: refuse models without a certificate that passed.
        only: open no model but this one.

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
        aliases: str = "",
        allow_modules: Sequence[str] = (),
        require_certificate: bool = False,
        only: str | None = None,
    ) -> None:
        self.allow_modules, self.only = allow_modules, only
        self.root, self.data, self.table, self.num_threads = root, data, table, num_threads
        self.table_outputs_bytes = table_outputs_bytes
        self.require_certificate = require_certificate
        self.default = _default(root, self._listed(), default, bool(list_models(root)))
        self._open: OrderedDict[tuple[str, int], ServedModel] = OrderedDict()
        self._newest: dict[str, int] = {}
        self.aliases = _parse_aliases(aliases)
        self._refused: set[tuple[str, int, int]] = set()
        # the first guards what is known, for moments; the second is held while files are read
        self._lock, self._loading = threading.RLock(), threading.RLock()
        self._published: dict[str, EmbeddingTable] = {}
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
        return self._locate(name, None)[1]

    def versions(self, name: str) -> list[int]:
        """Versions of a model on disk, ascending.

        Raises:
            ModelNotFoundError: there is no such model.
        """
        own = self.resolve(name)
        try:
            return list(list_versions(self.root, own))
        except UnknownModelError:
            raise ModelNotFoundError(name, self.names) from None

    def resolve(self, name: str) -> str:
        """The model's own name, for a name, an alias or `default`.

        Raises:
            ModelNotFoundError: there is no such model.
        """
        return self._locate(name, None)[0]

    def aliases_of(self, name: str) -> list[str]:
        """Other names of a model, sorted."""
        return sorted(alias for alias, (own, _) in self.aliases.items() if own == name)

    def opened(self, name: str, version: int | None = None) -> ServedModel | None:
        """The model if it is open already, without touching a file.

        Raises:
            ModelNotFoundError: there is no such model.
        """
        with self._lock:
            key = self._locate(name, version)
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
        with self._loading:
            model = self.opened(name, version)
            if model is None:
                model = self._load(*self._locate(name, version))
                self._keep(model)
            return model

    def refresh(self, check: Callable[[ServedModel], None]) -> list[ServedModel]:
        """Look at the directory: open what is new, forget what is gone.

        A new version answers once it is open and `check` has passed; one that fails is passed
        over until its manifest changes, and the version before it goes on answering.

        Returns:
            The models that answer from now on in place of another version, or of none.
        """
        found = {name: list(list_versions(self.root, name)) for name in self._listed()}
        changed = [self._refresh(name, versions, check) for name, versions in found.items()]
        with self._lock:
            for name in self._newest.keys() - found.keys():
                del self._newest[name]
                log.info("model_gone", model=name)
            for name, version in list(self._open):
                if version not in found.get(name, ()):
                    del self._open[name, version]
        return [model for model in changed if model is not None]

    def _refresh(
        self, name: str, versions: list[int], check: Callable[[ServedModel], None]
    ) -> ServedModel | None:
        """Make the newest version that can answer the one that does; None where it does already."""
        for version in reversed(versions):
            if version == self._newest.get(name):
                return None
            mark = (name, version, _changed(model_path(self.root, name, version)))
            if mark in self._refused:
                continue
            try:
                with self._loading:
                    model = self._load(name, version)
                check(model)
            except GnnError as error:
                self._refused.add(mark)
                log.warning("model_unusable", model=name, version=version, reason=str(error))
                continue
            self._keep(model)
            with self._lock:
                self._newest[name] = version
            log.info("model_loaded", model=name, version=version)
            return model
        with self._lock:
            self._newest.pop(name, None)
        return None

    def _locate(self, name: str, version: int | None) -> tuple[str, int]:
        """Own name and version; an alias may name the version, unless one is asked for."""
        with self._lock:
            own, pinned = self.aliases.get(name, (name, None))
            if name == DEFAULT and self.default:
                own = self.default
            if own not in self._newest:
                raise ModelNotFoundError(name, self.names)
            return own, version or pinned or self._newest[own]

    def serve_table(self, table: EmbeddingTable) -> bool:
        """Answer from a table that was published, in place of the one published before.

        Requests under way keep the model, and with it the table, that they began with.

        Returns:
            Whether an open model answers from it: made by its weights on this graph.
        """
        name = table.meta.model_name
        if table.meta.graph_fingerprint != self.data.meta.fingerprint:
            return False
        with self._lock:
            self._published[name] = table
            for key, model in self._open.items():
                if model.name == name:
                    self._open[key] = self._with_table(replace(model, table=None))
            return any(
                model.saved.info.digest == table.meta.model_digest and model.table is not None
                for model in self._open.values()
            )

    def _listed(self) -> list[str]:
        """Models for tasks on nodes and links; those for whole graphs need no stored graph."""
        return [name for name in list_models(self.root) if not is_for_graphs(self.root, name)]

    def _open_newest(self) -> None:
        names = self._listed()
        for name in names:
            if self.only not in (None, name):
                continue
            versions = list_versions(self.root, name)
            self._newest[name] = versions[-1]
            try:
                self._keep(self._load(name, versions[-1]))
            except GnnError as error:
                if name == self.default or len(names) == 1:
                    raise
                log.warning("model_unusable", model=name, reason=str(error))
        for alias, (name, version) in self.aliases.items():
            if alias in names or alias == DEFAULT:
                raise InputError(f"alias {alias!r} is the name of a model; choose another")
            if name not in names or (version and version not in list_versions(self.root, name)):
                which = f"{name}@{version}" if version else name
                raise InputError(f"alias {alias!r}: there is no model {which} in {self.root}")

    def _load(self, name: str, version: int) -> ServedModel:
        try:
            saved = load_model(model_path(self.root, name, version), self.allow_modules)
        except UnknownModelError:
            raise VersionNotFoundError(name, version, self.versions(name)) from None
        if self.require_certificate:
            saved.check_certificate()
        return self._served(saved)

    def _keep(self, model: ServedModel) -> None:
        with self._lock:
            self._open[model.name, model.version] = model
            while len(self._open) > max(MAX_OPEN, len(self._newest)):
                self._open.popitem(last=False)

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
        for table in (self._published.get(model.name), self.table):
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


def _default(root: Path, names: list[str], wanted: str | None, others: bool) -> str | None:
    """The model that answers to `default`: the one asked for, or named so, or the only one."""
    if not names and others:
        return None
    if not names:
        raise InputError(f"{root}: there is no model; train one with `gnn train GRAPH --out …`")
    if wanted is not None and wanted not in names:
        raise InputError(f"{root}: there is no model {wanted!r}; there is {', '.join(names)}")
    if wanted is not None:
        return wanted
    if DEFAULT in names:
        return DEFAULT
    return names[0] if len(names) == 1 else None


def _parse_aliases(text: str) -> dict[str, tuple[str, int | None]]:
    """Alias to name and version, from `canary=fraud@3,live=fraud`."""
    aliases = dict[str, tuple[str, int | None]]()
    for part in filter(None, text.split(",")):
        alias, _, target = part.partition("=")
        name, _, version = target.partition("@")
        aliases[alias] = (name, int(version) if version else None)
    return aliases


def _changed(path: Path) -> int:
    """When the manifest of a version was last written, or 0."""
    try:
        return (path / INFO).stat().st_mtime_ns
    except OSError:
        return 0
