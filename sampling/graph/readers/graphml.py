"""GraphML (Brandes et al. 2002), streamed through Expat.

A document type declaration is refused, and with it every entity: no bomb, no outside file.
Nested graphs, hyperedges and ports are refused as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from sampling.errors import ParseError
from sampling.graph.readers.elements import EdgeElement, NodeElement, edges_of_elements
from sampling.graph.readers.source import EdgeSource, ReadOptions
from sampling.graph.readers.text import MAX_LINE_BYTES, open_stream, reading

__all__ = ["open_edges"]

BLOCK_BYTES = 1 << 18


def open_edges(path: Path, options: ReadOptions) -> EdgeSource:
    """Nodes and edges of a GraphML file."""
    return edges_of_elements(path, lambda: _elements(path), options)


def _elements(path: Path) -> Iterator[NodeElement | EdgeElement]:
    document, fed = _Document(path), 0
    with reading(path), open_stream(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            fed += len(block)
            yield from document.feed(bytes(block), fed)
    yield from document.feed(b"", fed, final=True)


class _Document:
    """Collects elements as Expat meets them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[NodeElement | EdgeElement] = []
        self.names: dict[tuple[str, str], str] = {}
        self.defaults: dict[str, dict[str, str]] = {"node": {}, "edge": {}}
        self.stack: list[str] = []
        self.directed = True
        self.element: dict[str, str] | None = None
        self.attributes: dict[str, str] = {}
        self.key: str | None = None
        self.text: list[str] = []
        self.text_bytes = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype

    def feed(
        self, block: bytes, fed: int, *, final: bool = False
    ) -> list[NodeElement | EdgeElement]:
        """Elements that end in this block."""
        try:
            self.parser.Parse(block, final)
        except expat.ExpatError as error:
            raise ParseError(self.path, f"is not XML ({error}); write it again") from None
        if fed - max(self.parser.CurrentByteIndex, 0) > MAX_LINE_BYTES:
            raise self._error(f"has a tag longer than {MAX_LINE_BYTES >> 20} MiB")
        found, self.found = self.found, []
        return found

    def _error(self, what: str) -> ParseError:
        return ParseError(self.path, f"line {self.parser.CurrentLineNumber} {what}")

    def _refuse_doctype(self, *_: Any) -> None:
        raise self._error("has a document type declaration; remove it, entities are not read")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rsplit(" ", 1)[-1]
        self.stack.append(tag)
        if tag == "graph":
            if self.stack.count("graph") > 1:
                raise self._error("starts a graph in a graph; write them as one")
            self.directed = attributes.get("edgedefault", "directed") != "undirected"
        elif tag == "key":
            domain = attributes.get("for", "all")
            self.key = attributes.get("id", "")
            self.element = {"domain": domain}
            for kind in ("node", "edge") if domain == "all" else (domain,):
                self.names[kind, self.key] = attributes.get("attr.name", self.key)
        elif tag in ("node", "edge"):
            self.element, self.attributes = attributes, {}
        elif tag == "hyperedge":
            raise self._error("has a hyperedge; write it as edges")
        elif tag in ("data", "default"):
            self.key = attributes.get("key", "") if tag == "data" else self.key
            self.text.clear()
            self.text_bytes = 0

    def _characters(self, text: str) -> None:
        if self.stack and self.stack[-1] in ("data", "default"):
            self.text.append(text)
            self.text_bytes += len(text)
            if self.text_bytes > MAX_LINE_BYTES:
                raise self._error(f"has text longer than {MAX_LINE_BYTES >> 20} MiB")

    def _end(self, tag: str) -> None:
        tag = tag.rsplit(" ", 1)[-1]
        self.stack.pop()
        parent = self.stack[-1] if self.stack else ""
        if tag == "data" and parent in ("node", "edge"):
            name = self.names.get((parent, self.key or ""), self.key or "")
            self.attributes[name] = "".join(self.text).strip()
        elif tag == "default" and self.element is not None:
            domain = self.element.get("domain", "")
            for kind in ("node", "edge") if domain == "all" else (domain,):
                if kind in self.defaults:
                    name = self.names[kind, self.key or ""]
                    self.defaults[kind][name] = "".join(self.text).strip()
        elif tag == "node":
            self.found.append(NodeElement(self._need("id"), self._with_defaults("node")))
        elif tag == "edge":
            assert self.element is not None, "an edge ends after it starts"
            directed = self.element.get("directed", str(self.directed)).lower() == "true"
            ends = self._need("source"), self._need("target")
            self.found.append(EdgeElement(*ends, self._with_defaults("edge"), directed))

    def _with_defaults(self, kind: str) -> dict[str, str]:
        return (
            {**self.defaults[kind], **self.attributes} if self.defaults[kind] else self.attributes
        )

    def _need(self, name: str) -> str:
        value = (self.element or {}).get(name)
        if value is None:
            raise self._error(f"ends an element without the attribute {name!r}")
        return value
