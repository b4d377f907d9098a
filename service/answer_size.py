"""What an answer will weigh, known from rows and widths before any work is done for it."""

from __future__ import annotations

from collections.abc import Collection

from service.errors import LimitError
from service.registry import ServedModel
from service.settings import Settings

__all__ = ["BINARY", "DOUBLE", "HEAD", "JSON", "check_answer_size", "row_bytes"]

JSON, BINARY = 12, 4
"""Bytes of a float32: in JSON with its comma, as bytes."""
DOUBLE = 22
"""Bytes of a number that went through Python's floats."""
HEAD = 64
"""Bytes of an entry around what was asked for."""


def row_bytes(model: ServedModel, include: Collection[str], number: int = JSON) -> int:
    """Bytes of the answer for one node.

    Args:
        model: that answers.
        include: what is asked for.
        number: bytes of each number of an embedding.
    """
    config, names = model.saved.model.config, [str(name) for name in model.classes or ()]
    size = HEAD
    if "embedding" in include:
        size += model.saved.model.d_embedding * number
    if "probabilities" in include or (model.classes is None and "label" in include):
        size += config.d_out * DOUBLE + sum(len(name) + 4 for name in names)
    if "prediction_set" in include or model.has_many_labels:
        size += sum(len(name) + 3 for name in names)
    return size


def check_answer_size(settings: Settings, rows: int, bytes_of_row: int) -> None:
    """Refuse what would be answered with too many bytes.

    Raises:
        LimitError: it would.
    """
    got, limit = rows * bytes_of_row, settings.max_response_bytes
    if got > limit:
        asked = {"rows": rows, "bytes_per_row": bytes_of_row}
        raise LimitError("bytes of the answer", limit, got, asked)
