"""What an ingest of graphs is told, and what it says while it works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sampling.errors import InputError
from sampling.graph.collections.meta import CollectionMeta

__all__ = ["GraphsReport", "IngestGraphsConfig", "check_config"]

FORMATS = ("tables", "tu", "jsonl", "smiles")
MAX_DEGREE_FEATURES, MAX_FOLDS = 10_000, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestGraphsConfig:
    """What to ingest, and how.

    Attributes:
        out: the collection directory.
        format: "tables", "tu", "jsonl" or "smiles".
        files: files of "jsonl" and "smiles"; the directory or zip of "tu".
        graphs: the table of graphs, for "tables".
        edges: the table of edges, for "tables".
        nodes: the table of nodes, for "tables"; None where nothing is known of nodes.
        name: name of the collection; that of `out` when left out.
        columns: role (id, smiles, split, fold) → column, where a file names it otherwise.
        labels: columns of targets; the one that can be meant when left out.
        target_kind: "class", "real", or "auto": real where the column holds fractions.
        node_labels: categorical node and edge labels become "one-hot" columns, "codes", or are
            left out ("drop").
        integers: whether features that are all integers are "codes" or "numbers"; "auto": codes
            in tables, numbers in jsonl.
        undirected: every edge runs both ways; equal edges are one.
        degree_features: adds min(in-degree, this) as a categorical feature.
        constant_feature: adds a column of ones.
        positions: embeds molecules in space.
        on_error: "skip" leaves out molecules that cannot be read, "error" stops.
        folds: draws this many stratified folds.
        random_split: shares of train, val and test to draw.
        split_kind: "random" or "scaffold" (molecules), where there is no column of splits.
        seed: of splits, folds and positions.
        overwrite: replace `out`.
    """

    out: Path
    format: str
    files: Sequence[Path] = ()
    graphs: Path | None = None
    edges: Path | None = None
    nodes: Path | None = None
    name: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Sequence[str] = ()
    target_kind: str = "auto"
    node_labels: str = "one-hot"
    integers: str = "auto"
    undirected: bool = False
    degree_features: int | None = None
    constant_feature: bool = False
    positions: bool = False
    on_error: str = "error"
    folds: int | None = None
    random_split: tuple[float, float, float] | None = None
    split_kind: str | None = None
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class GraphsReport:
    """How far an ingest is.

    Attributes:
        stage: "read", "build" or "done".
        graphs: graphs so far.
        total_graphs: how many there will be, where that is known.
        seconds: since the beginning.
        skipped: molecules left out.
        bytes: size of the directory, at the end.
        meta: the manifest, at the end.
        notes: what the user may want to know.
    """

    stage: str
    graphs: int
    total_graphs: int | None = None
    seconds: float = 0.0
    skipped: int = 0
    bytes: int = 0
    meta: CollectionMeta | None = None
    notes: tuple[str, ...] = ()


def check_config(config: IngestGraphsConfig) -> None:
    """Refuse what cannot be meant.

    Raises:
        InputError: says which option is wrong.
    """
    if config.format not in FORMATS:
        raise InputError(f"format {config.format!r} is unknown; choose one of {', '.join(FORMATS)}")
    if config.format == "tables":
        _check_tables(config)
    elif config.graphs or config.edges or config.nodes:
        raise InputError(f"--graphs, --edges and --nodes are for --format tables, not for "
                         f"{config.format}; give its files by name alone")  # fmt: skip
    elif not config.files or (config.format != "jsonl" and len(config.files) > 1):
        wanted = {"tu": "its directory or zip", "smiles": "one table"}.get(config.format, "files")
        raise InputError(f"format {config.format} got {len(config.files)} files; give {wanted}")
    if config.format != "smiles" and (config.positions or config.split_kind == "scaffold"):
        raise InputError("positions and scaffolds come from molecules; use --format smiles")
    given = [config.folds is not None, config.random_split is not None]
    if sum(given) > 1 or (config.folds is not None and config.split_kind is not None):
        raise InputError("--folds, --random-split and --split-kind draw different splits; give one")
    if config.folds is not None and not 2 <= config.folds <= MAX_FOLDS:
        raise InputError(f"--folds is {config.folds}; give a number from 2 to {MAX_FOLDS}")
    top = config.degree_features
    if top is not None and not 1 <= top <= MAX_DEGREE_FEATURES:
        raise InputError(f"--degree-features is {top}; give one from 1 to {MAX_DEGREE_FEATURES}")


def _check_tables(config: IngestGraphsConfig) -> None:
    if config.graphs is None or config.edges is None:
        raise InputError("format tables needs --graphs FILE and --edges FILE")
    if config.files:
        raise InputError(f"format tables takes no file without an option, got {config.files[0]}; "
                         "use --graphs, --edges and --nodes")  # fmt: skip
