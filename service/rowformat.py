"""One embedding as bytes that prove themselves: what the shared cache stores.

    magic "GNE1" | number of values, uint32 | xxh3-64 of key and payload | float32 values

All little endian. The checksum covers the key as well, so that an entry that was copied, renamed
or delivered under another key is not taken for an answer, no more than one that was cut or
changed: `unpack` gives None and the row counts as missing.
"""

from __future__ import annotations

import struct

import numpy as np
import xxhash
from numpy.typing import NDArray

__all__ = ["pack", "unpack"]

MAGIC = b"GNE1"
HEADER = struct.Struct("<4sIQ")
ROW_TYPE = np.dtype("<f4")


def pack(key: bytes, row: NDArray[np.float32]) -> bytes:
    """The entry of a row (d,) under its key.

    Example:
        >>> unpack(b"a", pack(b"a", np.ones(2, np.float32))).tolist()
        [1.0, 1.0]
        >>> unpack(b"b", pack(b"a", np.ones(2, np.float32))) is None
        True
    """
    payload = row.astype(ROW_TYPE, copy=False).tobytes()
    return HEADER.pack(MAGIC, len(row), _checksum(key, payload)) + payload


def unpack(key: bytes, entry: bytes) -> NDArray[np.float32] | None:
    """The row (d,), read-only; None where the entry is not one that was packed under this key."""
    if len(entry) < HEADER.size:
        return None
    magic, length, checksum = HEADER.unpack_from(entry)
    payload = entry[HEADER.size :]
    if magic != MAGIC or len(payload) != length * ROW_TYPE.itemsize:
        return None
    if _checksum(key, payload) != checksum:
        return None
    return np.frombuffer(payload, ROW_TYPE).astype(np.float32, copy=False)


def _checksum(key: bytes, payload: bytes) -> int:
    return int(xxhash.xxh3_64_intdigest(len(key).to_bytes(4, "little") + key + payload))
