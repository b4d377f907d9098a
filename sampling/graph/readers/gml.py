"""GML (Himsolt 1997): nested lists of keys and values, read token by token.

    graph [ directed 1  node [ id 1 label "a" ]  edge [ source 1 target 2 value 3 ] ]

Lists inside of nodes and edges (such as `graphics`) are passed over. Graphs that do not say
`directed 1` are undirected.
"""

from __future__ import annotations

import html
import re
from collections.abc import Generator, Iterator
from pathlib import Path

from sampling.errors import ParseError
from sampling.graph.readers.elements import EdgeElement, NodeElement, edges_of_elements
from sampling.graph.readers.source import EdgeSource, ReadOptions
from sampling.graph.readers.text import MAX_LINE_BYTES, open_stream, reading

__all__ = ["open_edges"]

BLOCK_BYTES = 1 << 18
TOKEN = re.compile(
    r"""\s+ | (?P<comment>\#[^\n]*\n) | "(?P<string>[^"]*)" | (?P<bracket>[\[\]])
        | (?P<word>[^\s\[\]"\#]+)""",
    re.VERBOSE,
)


def open_edges(path: Path, options: ReadOptions) -> EdgeSource:
    """Nodes and edges of a GML file."""
    return edges_of_elements(path, lambda: _elements(path), options)


def _elements(path: Path) -> Iterator[NodeElement | EdgeElement]:
    directed, depth, kind = False, 0, ""
    attributes: dict[str, str] = {}
    key: str | None = None
    for word, quoted in _tokens(path):
        if word == "[" and not quoted:
            depth += 1
            if depth == 2:
                kind, attributes = key or "", {}
            key = None
        elif word == "]" and not quoted:
            if depth == 2 and kind in ("node", "edge"):
                yield _element(path, kind, attributes, directed)
            depth, key = depth - 1, None
            if depth < 0:
                raise ParseError(path, "closes a list that it did not open")
        elif key is None:
            key = word
        else:
            if depth == 1 and key == "directed":
                directed = word == "1"
            elif depth == 2:
                attributes.setdefault(key, html.unescape(word) if quoted else word)
            key = None
    if depth:
        raise ParseError(path, "ends inside of a list; copy it again")


def _element(
    path: Path, kind: str, attributes: dict[str, str], directed: bool
) -> NodeElement | EdgeElement:
    needed = ("id",) if kind == "node" else ("source", "target")
    ends = []
    for name in needed:
        if name not in attributes:
            raise ParseError(path, f"has a {kind} without {name!r}")
        ends.append(attributes.pop(name))
    if kind == "node":
        return NodeElement(ends[0], attributes)
    return EdgeElement(ends[0], ends[1], attributes, directed)


def _tokens(path: Path) -> Iterator[tuple[str, bool]]:
    """Words, strings and brackets, and whether they stood in quotes."""
    rest = ""
    with reading(path), open_stream(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            text = rest + bytes(block).decode("latin1")
            # A token at the very end may go on in the next block.
            used = yield from _scan(text, len(text) - 1)
            rest = text[used:]
            if len(rest) > MAX_LINE_BYTES:
                raise ParseError(path, f"has a word or string longer than {MAX_LINE_BYTES >> 20} "
                                 "MiB")  # fmt: skip
    used = yield from _scan(rest + "\n", len(rest) + 1)
    if rest[used:].strip():
        raise ParseError(path, f"ends with {rest[used : used + 40]!r}, which is no GML")


def _scan(text: str, end: int) -> Generator[tuple[str, bool], None, int]:
    place = 0
    while place < end and (found := TOKEN.match(text, place)) and found.end() <= end:
        place = found.end()
        if found.lastgroup in ("bracket", "word"):
            yield found.group(), False
        elif found.lastgroup == "string":
            yield _utf8(found.group("string")), True
    return place


def _utf8(text: str) -> str:
    """Text read byte by byte, as UTF-8 where it is."""
    try:
        return text.encode("latin1").decode("utf-8")
    except UnicodeDecodeError:
        return text
