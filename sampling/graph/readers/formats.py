"""Which reader reads a file: by its suffix, or by its first lines where the suffix says little."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from sampling.errors import InputError, ParseError
from sampling.graph.readers import (
    csv,
    dimacs,
    gml,
    graphml,
    matrix_market,
    metis,
    npy,
    ntriples,
    parquet,
    snap,
)
from sampling.graph.readers.source import EdgeSource, NodeSource, ReadOptions
from sampling.graph.readers.text import head, stem_suffix

__all__ = ["FORMATS", "format_of", "open_edges", "open_nodes"]

FORMATS: dict[str, Callable[[Path, ReadOptions], EdgeSource]] = {
    "csv": csv.open_edges,
    "dimacs": dimacs.open_edges,
    "gml": gml.open_edges,
    "graphml": graphml.open_edges,
    "matrix-market": matrix_market.open_edges,
    "metis": metis.open_edges,
    "npy": npy.open_edges,
    "npz": npy.open_archive_edges,
    "ntriples": ntriples.open_edges,
    "parquet": parquet.open_edges,
    "snap": snap.open_edges,
}

SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet", ".mtx": "matrix-market",
    ".mm": "matrix-market", ".graph": "metis", ".metis": "metis", ".gr": "dimacs",
    ".dimacs": "dimacs", ".col": "dimacs", ".graphml": "graphml", ".gml": "gml", ".npy": "npy",
    ".npz": "npz", ".nt": "ntriples",
}  # fmt: skip


def open_edges(path: Path, options: ReadOptions, format_: str = "auto") -> EdgeSource:
    """The edges of a file.

    Raises:
        ParseError: it cannot be read.
        InputError: no such format.
    """
    found = format_of(path, format_)
    found = "csv" if options.header and found == "snap" else found
    if options.edge_features and found not in ("csv", "parquet"):
        raise ParseError(path, f"is {found}; edge features are columns of Parquet, CSV or TSV, or "
                         "rows of a .npy file")  # fmt: skip
    return FORMATS[found](path, options)


def open_nodes(path: Path, options: ReadOptions, format_: str = "auto") -> NodeSource:
    """The nodes of a Parquet or CSV file."""
    found = format_of(path, format_)
    if found == "parquet":
        return parquet.open_nodes(path, options)
    if found in ("csv", "snap"):
        return csv.open_nodes(path, options)
    raise ParseError(path, f"is {found}; nodes are read from Parquet, CSV or TSV")


def format_of(path: Path, format_: str = "auto") -> str:
    """The name of a format in `FORMATS`."""
    if format_ not in (*FORMATS, "auto"):
        raise InputError(f"there is no format {format_!r}; choose one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise ParseError(path, "there is no such file; check the name")
    if format_ != "auto":
        return format_
    return SUFFIXES.get(stem_suffix(path)) or _sniff(path)


def _sniff(path: Path) -> str:
    start = head(path)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"%%MatrixMarket"):
        return "matrix-market"
    text = start.decode("utf-8-sig", "replace")
    if re.match(r"(c .*\n)*p (sp|tw|edge|col) ", text.replace("\r", "")):
        return "dimacs"
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#%"]
    if lines and (start[:1] in b"#%" or re.match(r"\s*[+-]?\d+[ \t]+[+-]?\d+(\s|$)", lines[0])):
        return "snap"
    return "csv"
