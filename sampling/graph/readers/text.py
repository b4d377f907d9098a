"""Text files as bounded blocks of whole lines, decompressed on the way, parsed by Arrow."""

from __future__ import annotations

import contextlib
import lzma
import re
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from sampling import kernels
from sampling.errors import ParseError

__all__ = ["MAX_LINE_BYTES", "head", "line_blocks", "open_stream", "parse_block", "reading",
           "stem_suffix"]  # fmt: skip

MAX_LINE_BYTES = 8 << 20
BLOCK_BYTES = 8 << 20
COMPRESSION = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
BAD_VALUE = re.compile(r"In CSV column #(\d+): .*invalid value '(.*)'", re.DOTALL)


class BadValueError(ParseError):
    """A value does not have the type of its column."""

    def __init__(self, path: Path, column: str, value: str, row: int | None, type_: str) -> None:
        self.column, self.value, self.type = column, value, type_
        super().__init__(path, f"column {column!r} holds {value[:80]!r}, which is no {type_}", row)


def stem_suffix(path: Path) -> str:
    """The suffix below the one of a compression: ".csv" of "edges.csv.gz"."""
    suffixes = [s.lower() for s in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] in (*COMPRESSION, ".xz")
    return "".join(suffixes[-2:-1] if packed else suffixes[-1:])


def open_stream(path: Path) -> Any:
    """A file of decompressed bytes."""
    suffix = path.suffix.lower()
    if suffix == ".xz":
        return pa.PythonFile(lzma.open(path, "rb"), mode="r")
    return pa.input_stream(str(path), compression=COMPRESSION.get(suffix))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what libraries say of an unreadable file into a `ParseError`."""
    try:
        yield
    except FileNotFoundError:
        raise ParseError(path, "there is no such file; check the name") from None
    except (EOFError, lzma.LZMAError, zlib.error) as error:
        raise ParseError(path, f"cannot be decompressed ({error}); copy it again") from None
    except pa.ArrowInvalid as error:
        if "straddling" in str(error):
            raise ParseError(path, f"has a line longer than {MAX_LINE_BYTES >> 20} MiB or an "
                             "open quote; this is no table of edges") from None  # fmt: skip
        raise ParseError(path, f"cannot be read ({str(error)[:200]})") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ParseError(path, f"cannot be read ({str(error)[:200]})") from None


def head(path: Path, size: int = 1 << 16) -> bytes:
    """The first decompressed bytes."""
    with reading(path), open_stream(path) as stream:
        return bytes(stream.read(size))


def line_blocks(path: Path, size: int = BLOCK_BYTES) -> Generator[bytes, None, None]:
    """Blocks of about `size` bytes that end with a line; "\\r\\n" becomes "\\n".

    Raises:
        ParseError: a line is longer than `MAX_LINE_BYTES`; no more than that is read of it.
    """
    rest = b""
    with reading(path), open_stream(path) as stream:
        while block := stream.read(min(size, MAX_LINE_BYTES)):
            block = rest + block
            end = block.rfind(b"\n") + 1
            if end == 0 and len(block) > MAX_LINE_BYTES:
                raise ParseError(path, f"has a line longer than {MAX_LINE_BYTES >> 20} MiB; "
                                 "this is not a table of edges or nodes")  # fmt: skip
            rest = block[end:]
            if end:
                yield block[:end].replace(b"\r\n", b"\n")
    if rest:
        yield rest.replace(b"\r", b"") + b"\n"


def parse_block(
    path: Path, block: bytes, columns: dict[str, pa.DataType], first_row: int
) -> pa.RecordBatch | pa.Table:
    """A table from whole lines of fields separated by spaces or tabs.

    Raises:
        ParseError: a line has another number of fields.
        BadValueError: a field does not have its type.
    """
    names, block = list(columns), _single_spaced(block)
    if all(pa.types.is_int64(type_) for type_ in columns.values()):
        text, threads = np.frombuffer(block, np.uint8), kernels.default_threads()
        parsed = kernels.parse_integers(text, ord(" "), len(names), threads)
        if parsed is not None:
            return pa.RecordBatch.from_arrays(list(parsed), names)
    try:
        return pacsv.read_csv(
            pa.py_buffer(block),
            read_options=pacsv.ReadOptions(
                column_names=names, block_size=len(block) + 16, use_threads=False
            ),
            parse_options=pacsv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=pacsv.ConvertOptions(column_types=columns, null_values=[]),
        )
    except pa.ArrowInvalid as error:
        raise explain(path, error, names, columns, first_row) from None


def explain(
    path: Path, error: pa.ArrowInvalid, names: list[str], types: dict[str, Any], first_row: int
) -> ParseError:
    """What Arrow's message says about a table, in words that name the place."""
    row = re.search(r"Row #(\d+)", str(error))
    number = None if row is None else first_row + int(row.group(1)) - 1
    if bad := BAD_VALUE.search(str(error)):
        name = names[int(bad.group(1))]
        return BadValueError(path, name, bad.group(2), number, words(types.get(name)))
    text = re.sub(r"^CSV parse error: (Row #\d+: )?", "", str(error))
    return ParseError(path, f"cannot be read: {text[:200]}", number)


def words(type_: Any) -> str:
    """An Arrow type for a reader of messages."""
    if type_ is None or not isinstance(type_, pa.DataType):
        return "value of its column's type"
    if pa.types.is_integer(type_):
        return "64-bit integer"
    return "number" if pa.types.is_floating(type_) else str(type_)


def _single_spaced(block: bytes) -> bytes:
    block = block.replace(b"\t", b" ")
    if b"  " in block:
        block = re.sub(rb" {2,}", b" ", block)
    if b" \n" in block:
        block = block.replace(b" \n", b"\n")
    if b"\n " in block or block.startswith(b" "):
        block = block.replace(b"\n ", b"\n").lstrip(b" ")
    return block
