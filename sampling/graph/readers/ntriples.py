"""N-Triples (W3C 2014): one `subject predicate object .` per line; RDF as a typed graph.

Subjects and objects are nodes, predicates are edge types. The id of a resource is its IRI
without the angle brackets, of a blank node its label as in `_:b0`. Literals are no nodes unless
they are kept; then the id is the literal as it stands, quotation marks and type included, so
that equal values are one node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from sampling.errors import ParseError
from sampling.graph.readers.source import EdgeChunk, EdgeSource, ReadOptions
from sampling.graph.readers.text import line_blocks

__all__ = ["open_edges"]

IRI = r"<(?>[^\x00-\x20<>\"{}|^`\\]+|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8})*+>"
BLANK = r"_:[^\s<>\"]*[^\s<>\".]"
LITERAL = rf"\"(?>[^\"\\\n\r]+|\\.)*+\"(?:\^\^{IRI}|@[A-Za-z]+(?:-[A-Za-z0-9]+)*)?"
TRIPLE = re.compile(
    rf"[ \t]*({IRI}|{BLANK})[ \t]*({IRI})[ \t]*({IRI}|{BLANK}|{LITERAL})[ \t]*\.[ \t]*(?:#.*)?"
)
ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})")
TEXT = pa.large_string()

Triple = tuple[str, str, str]


def open_edges(path: Path, options: ReadOptions) -> EdgeSource:
    """Edges of a file of triples."""
    keep = options.literals == "keep"

    def read(kind: str, rows: int) -> Iterator[EdgeChunk]:
        for triples, row in _blocks(path):
            kept = triples if keep else [t for t in triples if t[2][0] != '"']
            for start in range(0, len(kept), rows):
                yield _chunk(kept[start : start + rows], row)

    return EdgeSource(path, read, id_kind="string", id_columns=("subject", "object"))


def _chunk(triples: list[Triple], row: int) -> EdgeChunk:
    subjects, predicates, objects = zip(*triples, strict=True)
    return EdgeChunk(
        pa.array([_id(s) for s in subjects], TEXT),
        pa.array([_id(o) for o in objects], TEXT),
        row,
        _names(predicates),
    )


def _names(predicates: tuple[str, ...]) -> pa.Array:
    """Edge types; a file has few of them."""
    encoded = pa.array(predicates, TEXT).dictionary_encode()
    names = pa.array([_id(name) for name in encoded.dictionary.to_pylist()], TEXT)
    return pa.DictionaryArray.from_arrays(encoded.indices, names)


def _blocks(path: Path) -> Iterator[tuple[list[Triple], int]]:
    """Triples of a block of lines, and the number of its first line."""
    row = 1
    for block in line_blocks(path):
        try:
            lines = block.decode("utf-8-sig" if row == 1 else "utf-8").split("\n")
        except UnicodeDecodeError:
            raise ParseError(path, f"holds text that is not UTF-8 behind line {row}") from None
        yield [t for i, line in enumerate(lines) if (t := _triple(path, line, row + i))], row
        row += len(lines) - 1


def _triple(path: Path, line: str, row: int) -> Triple | None:
    """The parts of a line as they stand; None for a comment or an empty line.

    Raises:
        ParseError: it is no triple.
    """
    found = TRIPLE.fullmatch(line)
    if found is not None:
        subject, predicate, object_ = found.groups()
        return subject, predicate, object_
    if not line.strip() or line.lstrip()[0] == "#":
        return None
    raise ParseError(path, f"holds {line[:80]!r}, which is no `subject predicate object .`", row)


def _id(term: str) -> str:
    """A term as an id."""
    if term[0] == "<":
        term = term[1:-1]
    return ESCAPE.sub(_character, term) if "\\" in term else term


def _character(escape: re.Match[str]) -> str:
    code = int(escape.group(1) or escape.group(2), 16)
    is_text = code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF
    return chr(code) if is_text else "\N{REPLACEMENT CHARACTER}"
