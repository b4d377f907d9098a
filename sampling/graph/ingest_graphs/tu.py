"""The text files of the TU benchmark sets (Morris et al.: TUDataset, 2020), in a directory or zip.

    DS_A.txt  DS_graph_indicator.txt  [DS_graph_labels.txt]  [DS_graph_attributes.txt]
    [DS_node_labels.txt]  [DS_node_attributes.txt]  [DS_edge_labels.txt]  [DS_edge_attributes.txt]

Nodes and graphs count from 1. Nothing of a zip is unpacked to disk: its members are read by the
end of their names, up to a bound.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sampling.errors import InputError, ParseError
from sampling.graph.ingest_graphs.config import IngestGraphsConfig
from sampling.graph.ingest_graphs.raw import Columns, RawGraphs, Reading, Targets
from sampling.graph.ingest_graphs.tabular import one_target
from sampling.graph.memory import allowed_bytes
from sampling.graph.meta import LabelInfo
from sampling.graph.readers.text import parse_block, reading

__all__ = ["read_tu"]

PARTS = ("A", "graph_indicator", "graph_labels", "graph_attributes", "node_labels",
         "node_attributes", "edge_labels", "edge_attributes")  # fmt: skip
ENDING = re.compile(rf"(?:.*_)?({'|'.join(PARTS)})\.txt", re.DOTALL)
PIECE_BYTES = 64 << 20
MAX_BYTES = 8 << 30
MAX_RATIO = 200
SMALL_BYTES = 1 << 20
MAX_COLUMNS = 10_000

Files = dict[str, tuple[Path, bytes]]


def read_tu(config: IngestGraphsConfig) -> Reading:
    """Graphs from a directory or a zip of such files.

    Raises:
        ParseError: names file and row of what is wrong.
    """
    path = Path(config.files[0])
    files = _zipped(path) if path.is_file() else _listed(path)
    for needed in ("A", "graph_indicator"):
        if needed not in files:
            raise ParseError(path, f"holds no file …_{needed}.txt; this is no TU data set")
    owners = _integers(files, "graph_indicator")[:, 0]
    raw = _graphs(files, owners, config)
    yield raw.num_graphs
    return raw


def _graphs(files: Files, owners: NDArray[np.int64], config: IngestGraphsConfig) -> RawGraphs:
    targets = _targets(files, config)
    num_graphs = int(owners.max(initial=0)) if targets is None else len(targets.values)
    _check_range(files, "graph_indicator", owners, num_graphs)
    edges = _integers(files, "A")
    if edges.shape[1] != 2:
        raise ParseError(files["A"][0], f"has {edges.shape[1]} columns; edges are pairs of nodes")
    num_nodes = len(owners)
    for column in edges.T:
        _check_range(files, "A", column, num_nodes)
    order = np.argsort(owners, kind="stable")
    place = np.empty(num_nodes, np.int64)
    place[order] = np.arange(num_nodes)
    src, dst = place[edges[:, 0] - 1], place[edges[:, 1] - 1]
    crossing = owners[edges[:, 0] - 1] != owners[edges[:, 1] - 1]
    if crossing.any():
        row = int(np.flatnonzero(crossing)[0])
        raise ParseError(files["A"][0], f"has an edge {edges[row, 0]}, {edges[row, 1]} between two "
                         "graphs", row + 1)  # fmt: skip
    sizes = np.bincount(owners - 1, minlength=num_graphs).astype(np.int64)
    raw = RawGraphs(sizes, src, dst, ids=np.arange(1, num_graphs + 1), targets=targets)
    if "node_labels" in files:
        raw.node_labels = _integers(files, "node_labels", num_nodes)[order]
    if "node_attributes" in files:
        columns = _floats(files, "node_attributes", num_nodes)
        raw.node_features = replace(columns, rows=columns.rows[order])
    if "edge_labels" in files:
        raw.edge_labels = _integers(files, "edge_labels", len(edges))
    if "edge_attributes" in files:
        raw.edge_features = _floats(files, "edge_attributes", len(edges))
    return raw


def _targets(files: Files, config: IngestGraphsConfig) -> Targets | None:
    """Labels where there are any and no real target is asked for, else attributes."""
    has_real = "graph_attributes" in files
    if "graph_labels" in files and not (has_real and config.target_kind == "real"):
        path = files["graph_labels"][0]
        column = pa.array(_table(files, "graph_labels", pa.float64())[:, 0])
        whole = column.to_numpy() == np.rint(column.to_numpy())
        column = column.cast(pa.int64()) if whole.all() else column
        return one_target(_classes(column), "label", config, path)
    if not has_real:
        return None
    rows = _floats(files, "graph_attributes").rows
    names = tuple(f"attribute{i}" for i in range(rows.shape[1]))
    return Targets(rows[:, 0] if rows.shape[1] == 1 else rows, LabelInfo(kind="real"), names)


def _classes(column: pa.Array) -> pa.Array:
    """Labels of these sets may be -1 and 1: here -1 is a class and not the lack of one."""
    if pa.types.is_integer(column.type) and (column.to_numpy() == -1).any():
        return column.cast(pa.large_string())
    return column


def _check_range(files: Files, part: str, column: NDArray[np.int64], last: int) -> None:
    bad = (column < 1) | (column > last)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ParseError(files[part][0], f"names {column[row]}, outside 1 … {last}", row + 1)


def _integers(files: Files, part: str, rows: int | None = None) -> NDArray[np.int64]:
    return _checked(files, part, _table(files, part, pa.int64()), rows)


def _floats(files: Files, part: str, rows: int | None = None) -> Columns:
    values = _checked(files, part, _table(files, part, pa.float64()), rows)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if not np.isfinite(narrow).all():
        row = int(np.flatnonzero(~np.isfinite(narrow).all(axis=1))[0])
        raise ParseError(files[part][0], "holds a value that is no finite float32", row + 1)
    return Columns(narrow, tuple(f"attribute{i}" for i in range(values.shape[1])))


def _checked(files: Files, part: str, table: NDArray[np.generic], rows: int | None) -> NDArray[Any]:
    if rows is not None and len(table) != rows:
        raise ParseError(files[part][0], f"has {len(table)} rows for {rows} of the other files")
    return table


def _table(files: Files, part: str, kind: pa.DataType) -> NDArray[Any]:
    """All rows of a file of numbers between commas."""
    path, content = files[part]
    content = content.replace(b"\r\n", b"\n").replace(b",", b" ").strip(b"\n ")
    if not content:
        return np.empty((0, 2 if part == "A" else 1), kind.to_pandas_dtype())
    width = len(content[: content.find(b"\n")].split() if b"\n" in content else content.split())
    if not 1 <= width <= MAX_COLUMNS:
        raise ParseError(path, f"has {width} columns; at most {MAX_COLUMNS} can be")
    columns = {f"column {i + 1}": kind for i in range(width)}
    blocks, first = [], 1
    for piece in _pieces(content):
        table = parse_block(path, piece, columns, first)
        blocks.append(np.stack([c.to_numpy(zero_copy_only=False) for c in table.columns]
                               if isinstance(table, pa.RecordBatch) else
                               [c.to_numpy() for c in table.columns], axis=1))  # fmt: skip
        first += len(blocks[-1])
    return np.concatenate(blocks)


def _pieces(content: bytes) -> list[bytes]:
    """Whole lines, some megabytes at a time."""
    pieces, start = [], 0
    while start < len(content):
        end = content.find(b"\n", start + PIECE_BYTES)
        end = len(content) if end < 0 else end + 1
        piece = content[start:end]
        pieces.append(piece if piece.endswith(b"\n") else piece + b"\n")
        start = end
    return pieces


# --- where the files are -------------------------------------------------------------------------


def _listed(path: Path) -> Files:
    if not path.is_dir():
        raise ParseError(path, "there is no such directory or zip; check the name")
    found = _named(path, [p.name for p in sorted(path.iterdir()) if p.is_file()])
    _check_size(path, sum((path / name).stat().st_size for name in found.values()))
    with reading(path):
        return {part: (path / name, (path / name).read_bytes()) for part, name in found.items()}


def _zipped(path: Path) -> Files:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
            found = _named(path, list(members))
            chosen = [members[name] for name in found.values()]
            _check_size(path, sum(info.file_size for info in chosen))
            for info in chosen:
                _check_member(path, info)
            return {
                part: (path / name.rsplit("/", 1)[-1], archive.read(name))
                for part, name in found.items()
            }
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
    ) as error:
        raise ParseError(path, f"cannot be read as a zip ({error}); copy it again") from None


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise ParseError(path, f"has an encrypted member {info.filename[:80]!r}; decrypt it first")
    if info.file_size > SMALL_BYTES and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        raise ParseError(path, f"has a member {info.filename[:80]!r} that unpacks to more than "
                         f"{MAX_RATIO} times its size; unpack it if you trust it")  # fmt: skip


def _check_size(path: Path, size: int) -> None:
    most = min(MAX_BYTES, allowed_bytes() // 4)
    if size > most:
        raise InputError(
            f"{path} holds {size >> 20} MiB of text; {most >> 20} MiB can be read here"
        )


def _named(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Part → the one file of it."""
    found: dict[str, str] = {}
    for name in names:
        match = ENDING.fullmatch(name.rsplit("/", 1)[-1])
        if match is None:
            continue
        part = match.group(1)
        if part in found:
            raise ParseError(path, f"holds {found[part][:80]!r} and {name[:80]!r}; one data set at "
                             "a time can be read")  # fmt: skip
        found[part] = name
    return found
