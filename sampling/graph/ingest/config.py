"""What an ingest is told, and what it says while it works."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from sampling import kernels
from sampling.errors import InputError
from sampling.graph.arrays import check_replaceable
from sampling.graph.features import STORAGE_TYPES
from sampling.graph.ingest.typed import TypedFile
from sampling.graph.meta import GraphMeta
from sampling.graph.store import MANIFEST

__all__ = ["Clock", "IngestConfig", "IngestReport", "Reports", "check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """What to ingest, and how.

    Attributes:
        edges: files of edges; some formats bring nodes, features and splits along. A `TypedFile`
            says which type they have.
        nodes: lists of nodes (Parquet, CSV or TSV); a `TypedFile` says which type they have.
        features: `.npy`, or `.npz` dense or SciPy CSR: one file for all nodes, or a `TypedFile`
            for each node type that has features.
        edge_features: columns of the tables of edges that are features of theirs, or a `.npy` file
            with a row for each edge of one file, in its order.
        positions: `.npy` with x, y and z of every node, matched to nodes as features are, or the
            three columns of `nodes` that hold them.
        labels: pairs of a node id and one of its labels (Parquet, CSV or TSV).
        splits: `.npz` with an array `split`, or `.npy`: (num_nodes, num_splits).
        out: the graph directory.
        name: name of the graph; the name of `out` when left out.
        columns: role → column, where a file names it otherwise (see `ReadOptions`).
        header: names of the columns of text files of edges that have no line with them.
        format: a key of `FORMATS` for all files of edges, or one for each.
        id_prefix: ids are per type: id 17 of type "author" becomes "author:17".
        literals: "drop" or "keep": whether literals of N-Triples are nodes.
        undirected: every edge runs both ways; self-loops are kept once.
        reverse_edges: every edge has an inverse, of type `rev_` and the name of its own.
        duplicates: "keep", "drop" (edges equal in everything are one), or "auto": drop where
            edges run both ways.
        id_type: "int", "string", or "auto": integers where all ids of text files are, text where
            none is; a mixture is refused.
        feature_storage: "float32", "float16", "bfloat16" or "int8".
        sparse_features: "yes" keeps a sparse `.npz` as it is, "no" makes it dense; "auto" keeps it
            where dense rows would take more than 1 GiB and most of them were zeros.
        feature_rows: "id" (row i is node id i), "nodes" (row i is row i of the list), or
            "auto": by id where the ids are 0 … rows - 1 in some order.
        memory_bytes: bound on resident memory; a share of what is free when left out.
        on_dangling: what to do with edges whose nodes are in no list: "error", "drop", "create".
        val_edges: files of edges to predict in validation, which are no messages.
        test_edges: the same for test; a split column of `edges` says it as well.
        val_negatives: files of pairs that are no edges, to measure validation with.
        test_negatives: the same for test.
        random_split: fractions for train, val and test, drawn from the labeled nodes.
        split_seed: seed of that draw.
        reorder: "none", "degree" or "community": other dense numbers, for locality; ids hide them.
        overwrite: replace a graph that is there; its version grows.
        num_threads: threads; all cores when left out.
    """

    edges: Sequence[Path | TypedFile] = ()
    nodes: Sequence[Path | TypedFile] = ()
    features: Path | Sequence[Path | TypedFile] | None = None
    edge_features: Path | Sequence[str] = ()
    positions: Path | Sequence[str] = ()
    labels: Sequence[Path | TypedFile] = ()
    splits: Path | None = None
    out: Path
    name: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    header: Sequence[str] = ()
    format: str | Sequence[str] = "auto"
    id_prefix: bool = False
    literals: str = "drop"
    undirected: bool = False
    reverse_edges: bool = False
    duplicates: str = "auto"
    id_type: str = "auto"
    feature_storage: str = "float32"
    sparse_features: str = "auto"
    feature_rows: str = "auto"
    memory_bytes: int | None = None
    on_dangling: str = "error"
    random_split: tuple[float, float, float] | None = None
    split_seed: int = 0
    reorder: str = "none"
    val_edges: Sequence[Path] = ()
    test_edges: Sequence[Path] = ()
    val_negatives: Sequence[Path] = ()
    test_negatives: Sequence[Path] = ()
    overwrite: bool = False
    num_threads: int | None = None

    @property
    def threads(self) -> int:
        return self.num_threads or kernels.default_threads()


@dataclass(frozen=True, slots=True)
class IngestReport:
    """How far an ingest is.

    Attributes:
        stage: "nodes", "ids", "labels", "edges", "build", "order", "features",
            "positions" or "done".
        rows: rows done in this stage.
        total_rows: rows of this stage, where known.
        bytes: bytes of the input files, or of the graph when done.
        seconds: since the stage began; since the ingest began when done.
        rows_per_s: rate of this stage.
        memory_bytes: resident memory of the process now.
        notes: what the user should know, such as columns that were ignored.
        meta: the manifest, in the last report.
    """

    stage: str
    rows: int
    total_rows: int | None = None
    bytes: int = 0
    seconds: float = 0.0
    rows_per_s: float = 0.0
    memory_bytes: int = 0
    notes: tuple[str, ...] = ()
    meta: GraphMeta | None = None


Reports = Generator[IngestReport, None, Any]


def check(config: IngestConfig) -> None:
    """Refuse options that are none."""
    choices = {
        "duplicates": (config.duplicates, ("auto", "keep", "drop")),
        "feature_storage": (config.feature_storage, tuple(STORAGE_TYPES)),
        "sparse_features": (config.sparse_features, ("auto", "yes", "no")),
        "feature_rows": (config.feature_rows, ("auto", "id", "nodes")),
        "on_dangling": (config.on_dangling, ("error", "drop", "create")),
        "id_type": (config.id_type, ("auto", "int", "string")),
        "literals": (config.literals, ("drop", "keep")),
        "reorder": (config.reorder, ("none", "degree", "community")),
    }
    for name, (got, allowed) in choices.items():
        if got not in allowed:
            raise InputError(f"{name} is {got!r}; choose one of {', '.join(allowed)}")
    if not config.edges and not config.nodes:
        raise InputError("there is nothing to ingest; give files of edges")
    if config.splits is not None and config.random_split is not None:
        raise InputError("splits come from a file or are drawn at random, not both")
    if config.sparse_features == "yes" and config.feature_storage != "float32":
        raise InputError(f"sparse features are float32, and {config.feature_storage} was asked for;"
                         " leave the type out, or --sparse-features")  # fmt: skip
    if config.undirected and config.reverse_edges:
        raise InputError("edges run both ways with one type (--undirected), or back with a type of "
                         "their own (--reverse-edges), not both")  # fmt: skip
    _check_rows(config)
    check_replaceable(config.out, config.overwrite, MANIFEST)


def _check_rows(config: IngestConfig) -> None:
    for what, given in (("edge features", config.edge_features), ("positions", config.positions)):
        if isinstance(given, Path):
            continue
        again = [name for i, name in enumerate(given) if name in given[:i]]
        if again:
            raise InputError(f"{what} name the column {again[0]!r} more than once; name it once")
    columns = () if isinstance(config.positions, Path) else config.positions
    if columns and len(columns) != 3:
        raise InputError(f"{len(columns)} columns of positions are named; name those of x, y and z")
    if columns and not config.nodes:
        raise InputError("positions are columns of the nodes files, and none are given; give "
                         "--nodes, or positions as a .npy file")  # fmt: skip


class Clock:
    """Makes the reports of one stage."""

    def __init__(self, stage: str, began: float | None = None) -> None:
        self.stage, self.began = stage, time.perf_counter() if began is None else began
        self.process = psutil.Process()

    def report(
        self,
        rows: int,
        total: int | None = None,
        size: int = 0,
        notes: tuple[str, ...] = (),
        meta: GraphMeta | None = None,
    ) -> IngestReport:
        seconds = max(time.perf_counter() - self.began, 1e-9)
        resident = int(self.process.memory_info().rss)
        return IngestReport(
            self.stage, rows, total, size, seconds, rows / seconds, resident, notes, meta
        )
