"""Labels and splits of nodes, from columns of files to codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sampling.errors import InputError, ParseError
from sampling.graph.hashing import mix
from sampling.graph.meta import LabelInfo

__all__ = [
    "UNLABELED",
    "encode_labels",
    "plain_labels",
    "random_split",
    "split_codes",
    "without_gaps",
]

MAX_CLASSES = 1 << 20
UNLABELED = 255
"""What the row of a node without labels holds where nodes have several."""
SPLIT_WORDS = {
    "": 0, "none": 0, "train": 1, "val": 2, "valid": 2, "validation": 2, "dev": 2, "test": 3,
}  # fmt: skip


def plain_labels(label: Any, first_row: int, path: Path) -> Any:
    """A column of labels as int64 with -1, float32 with NaN, or Arrow strings with nulls."""
    if pa.types.is_dictionary(label.type):
        label = label.dictionary_decode()
    kind = label.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pc.fill_null(label.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(kind):
        values = label.cast(pa.float64()).to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        if np.isinf(values).any():
            row = int(np.flatnonzero(np.isinf(values))[0])
            raise ParseError(path, "has an infinite label; targets are finite float32 numbers",
                             first_row + row)  # fmt: skip
        return values
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return label.cast(pa.large_string())
    if pa.types.is_null(kind):
        return np.full(len(label), -1, np.int64)
    raise ParseError(path, f"has labels of type {kind}; give integers, text or floats")


def without_gaps(parts: list[Any], sizes: Sequence[int]) -> list[Any]:
    """Columns of labels, with empty ones of the same kind where there is none."""
    kinds = ["text" if isinstance(p, pa.Array) else p.dtype.kind for p in parts if p is not None]
    if not kinds:
        return parts

    def empty(size: int) -> Any:
        if "text" in kinds:
            return pa.nulls(size, pa.large_string())
        return np.full(size, -1, np.int64) if "i" in kinds else np.full(size, np.nan, np.float32)

    return [empty(n) if part is None else part for part, n in zip(parts, sizes, strict=True)]


def encode_labels(parts: list[Any]) -> tuple[NDArray[Any] | None, LabelInfo | None]:
    """Codes or targets of all chunks, and what they mean."""
    if all(part is None for part in parts):
        return None, None
    if any(part is None for part in parts):
        raise InputError("some nodes files have a label column and some have none; give all or "
                         "none of them one")  # fmt: skip
    if any(isinstance(part, pa.Array) for part in parts):
        if not all(isinstance(part, pa.Array) for part in parts):
            raise InputError("some nodes files have text labels and some have numbers; all must "
                             "agree")  # fmt: skip
        return _text_classes(parts)
    if not any(part.dtype.kind == "f" for part in parts):
        return _int_classes(np.concatenate(parts))
    values = np.concatenate([_targets(part) for part in parts])
    if _are_classes_with_gaps(values):
        return _int_classes(np.where(np.isnan(values), -1, values).astype(np.int64))
    return values, LabelInfo(kind="real")


def _targets(part: NDArray[Any]) -> NDArray[np.float32]:
    """A column as targets; -1 among integers is none."""
    if part.dtype.kind == "f":
        return part.astype(np.float32, copy=False)
    return np.where(part == -1, np.float32(np.nan), part.astype(np.float32))


def _are_classes_with_gaps(values: NDArray[np.float32]) -> bool:
    """Whole numbers and NaN: what integer labels with gaps become in programs that have no null."""
    missing = np.isnan(values)
    rest = values[~missing]
    return bool(missing.any() and (rest == np.rint(rest)).all() and (np.abs(rest) < 2**24).all())


def _int_classes(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], LabelInfo]:
    """Codes of integer labels, -1 for none, and the classes in order."""
    classes = np.unique(values[values != -1])
    _check_classes(len(classes))
    codes = np.searchsorted(classes, values)
    codes[values == -1] = -1
    return codes, LabelInfo(kind="class", classes=classes.tolist())


def _text_classes(parts: list[Any]) -> tuple[NDArray[np.int64], LabelInfo]:
    codes: dict[str, int] = {}
    columns = []
    for part in parts:
        encoded = pc.fill_null(part, "").dictionary_encode()
        local = [codes.setdefault(n, len(codes)) for n in encoded.dictionary.to_pylist()]
        _check_classes(len(codes))
        columns.append(np.array(local, np.int64)[encoded.indices.to_numpy()])
    names = sorted(name for name in codes if name)
    place = np.full(len(codes), -1, np.int64)
    place[[codes[name] for name in names]] = np.arange(len(names))
    return place[np.concatenate(columns)], LabelInfo(kind="class", classes=names)


def _has_label(labels: NDArray[Any]) -> NDArray[np.bool_]:
    if labels.ndim == 2:
        labels = np.where(labels[:, 0] == UNLABELED, -1, 0)
    known: NDArray[np.bool_] = labels >= 0 if labels.dtype.kind == "i" else ~np.isnan(labels)
    return known


def _check_classes(count: int) -> None:
    if count > MAX_CLASSES:
        raise InputError(f"the labels have more than {MAX_CLASSES} distinct values; a target to "
                         "be regressed is a floating-point column")  # fmt: skip


def split_codes(column: Any, first_row: int, path: Path) -> NDArray[np.uint8]:
    """(rows, 1) codes of a column of words."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        return np.zeros((len(column), 1), np.uint8)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ParseError(path, f"has splits of type {column.type}; write train, val, test or none")
    encoded = pc.fill_null(column, "").dictionary_encode()
    words = encoded.dictionary.to_pylist()
    codes = np.array([SPLIT_WORDS.get(word.strip().lower(), 255) for word in words], np.uint8)
    places: NDArray[np.int32] = encoded.indices.to_numpy()
    rows = codes[places]
    if (rows == 255).any():
        row = int(np.flatnonzero(rows == 255)[0])
        raise ParseError(path, f"has split {column[row].as_py()[:40]!r}; write train, val, test "
                         "or none", first_row + row)  # fmt: skip
    return rows[:, None]


def random_split(
    labels: NDArray[Any] | None, num_nodes: int, parts: Sequence[float], seed: int
) -> NDArray[np.uint8]:
    """Train, val and test drawn from the labeled nodes (all nodes without labels), (n, 1).

    The order of a node is a hash of (seed, node), so it depends on nothing else.
    """
    if len(parts) != 3 or min(parts) < 0 or sum(parts) > 1 + 1e-9:
        raise InputError(f"a random split of {tuple(parts)} is none; give three fractions for "
                         "train, val and test that add up to at most 1")  # fmt: skip
    known = np.arange(num_nodes) if labels is None else np.flatnonzero(_has_label(labels))
    order = known[np.argsort(mix(known.astype(np.uint64), seed), kind="stable")]
    ends = np.rint(np.cumsum(parts) * len(known)).astype(np.int64)
    splits = np.zeros((num_nodes, 1), np.uint8)
    for code, (start, end) in enumerate(zip([0, *ends[:2]], ends, strict=True), 1):
        splits[order[start:end], 0] = code
    return splits
