"""Node ids as text: of `--nodes`, or one per line of `--nodes-file`, as the type the graph has.

An id is kept as it is written, white space included; only integers are read without it. A file is
read in bounded pieces, so that one without line ends is refused before it fills the memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sampling import NodeIds

__all__ = ["parse_ids", "read_ids", "read_pairs"]

MAX_LINE_BYTES = 64 * 1024
MAX_SHOWN = 40
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
INTEGER = re.compile(r"-?[0-9]+")
MAX_DIGITS = 19


def read_ids(nodes: str | None, nodes_file: Path | None) -> list[str]:
    """The ids of exactly one of both options; empty ones are left out.

    Raises:
        InputError: both or none are given, or there is no id.
        ParseError: the file is not UTF-8 text, or has a line above 64 KiB.
    """
    from sampling.errors import InputError

    if nodes is not None and nodes_file is None:
        source, texts = f"--nodes {_short(nodes)!r}", _parts(nodes)
    elif nodes_file is not None and nodes is None:
        source, texts = str(nodes_file), list(_lines(nodes_file))
    else:
        raise InputError("give the node ids either as --nodes a,b or as --nodes-file FILE")
    if not any(text.strip() for text in texts):
        raise InputError(f"{source} holds no ids; give at least one")
    return [text for text in texts if text]


def read_pairs(pairs: str, nodes: str | None, nodes_file: Path | None) -> list[str]:
    """The ids of "a:b,c:d", one behind the other.

    Raises:
        InputError: nodes are given as well, or a part is no pair.
    """
    from sampling.errors import InputError

    if nodes is not None or nodes_file is not None:
        raise InputError("give either --pairs or node ids, not both")
    texts: list[str] = []
    for part in _parts(pairs):
        ends = part.split(":")
        if len(ends) != 2 or not all(ends):
            raise InputError(f"{_short(part)!r} is not a pair; write two ids with a colon between "
                             "them, as in a:b,c:d; ids with colons need the service")  # fmt: skip
        texts += ends
    return texts


def parse_ids(
    known: NodeIds, texts: Sequence[str], *, report_unknown: bool = False
) -> list[int | str]:
    """Ids of the type that the graph has.

    Args:
        known: the graph's ids.
        texts: the ids as they were given.
        report_unknown: keep a text that is no integer, which no integer id equals.

    Raises:
        InputError: the graph has integer ids and a text is none, or does not fit into 64 bits.
    """
    if known.is_string:
        return list(texts)
    trimmed = (text.strip() for text in texts)
    return [_integer(text, report_unknown) for text in trimmed if text]


def _integer(text: str, report_unknown: bool) -> int | str:
    from sampling.errors import InputError

    if not INTEGER.fullmatch(text):
        if report_unknown:
            return text
        raise InputError(
            f"node id {_short(text)!r} is not an integer, as the ids of this graph are"
        )
    if len(text.removeprefix("-")) > MAX_DIGITS or not -(2**63) <= int(text) < 2**63:
        raise InputError(f"node id {_short(text)} does not fit into 64 bits; check the id")
    return int(text)


def _parts(nodes: str) -> list[str]:
    from sampling.errors import InputError

    try:
        nodes.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"--nodes {_short(nodes)!r} is not UTF-8 text ({error.reason})") from None
    return nodes.split(",")


def _lines(path: Path) -> Iterator[str]:
    """Lines without their ends, each at most `MAX_LINE_BYTES` long."""
    from sampling.errors import ParseError

    with path.open("rb") as file:
        row = 0
        while raw := file.readline(MAX_LINE_BYTES + len(b"\r\n")):
            row += 1
            line = raw.removesuffix(b"\n").removesuffix(b"\r")
            if len(line) > MAX_LINE_BYTES:
                raise ParseError(
                    path, f"the line is longer than {MAX_LINE_BYTES} bytes; write one id per line",
                    row,
                )  # fmt: skip
            try:
                yield (line.removeprefix(BYTE_ORDER_MARK) if row == 1 else line).decode()
            except UnicodeDecodeError as error:
                raise ParseError(path, f"is not UTF-8 text ({error.reason})", row) from None


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
