"""Files that hold one type: what `TYPE=FILE` says, and sources whose rows know their types.

Data sets of several types come as one file per type, and ids in them often count from 0 in each.
With prefixes, id 17 of type "author" becomes "author:17", so that equal ids of different types
are different nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sampling.errors import InputError
from sampling.graph.readers.source import EdgeChunk, EdgeSource, Ids, NodeChunk, NodeSource

__all__ = ["TypedFile", "constant", "prefixed_ids", "typed_edges", "typed_nodes"]

TEXT = pa.large_string()


@dataclass(frozen=True, slots=True)
class TypedFile:
    """A file, and the types of what it holds.

    Attributes:
        path: the file.
        type: type of its nodes or edges, where it has no column for it; empty where it does.
        src_type: node type of the sources of its edges, for prefixes.
        dst_type: node type of their destinations.
    """

    path: Path
    type: str = ""
    src_type: str = ""
    dst_type: str = ""

    @classmethod
    def parse(cls, text: str) -> TypedFile:
        """A file from "FILE", "TYPE=FILE" or "SRC_TYPE:TYPE:DST_TYPE=FILE".

        A file whose whole name exists is that file, whatever its name holds.

        Example:
            >>> TypedFile.parse("author:writes:paper=w.csv").dst_type
            'paper'
        """
        name, found, path = text.partition("=")
        if not found or not name or Path(text).exists():
            return cls(Path(text))
        parts = name.split(":")
        if len(parts) == 3 and all(parts):
            return cls(Path(path), parts[1], parts[0], parts[2])
        return cls(Path(path), name)

    @classmethod
    def of(cls, given: Path | str | TypedFile) -> TypedFile:
        """A file that may be given as its path alone."""
        return given if isinstance(given, TypedFile) else cls(Path(given))


def typed_edges(source: EdgeSource, file: TypedFile, *, prefix: bool) -> EdgeSource:
    """Edges whose type, and the types of whose ends, the user names.

    Raises:
        InputError: ids are to be prefixed, and the file's types are not named.
    """
    if not prefix and not file.type:
        return source
    name = file.path.name
    if prefix and not file.src_type:
        raise InputError(f"{name} is given without the types of its ids, which --id-prefix "
                         f"needs; write SRC_TYPE:TYPE:DST_TYPE={name}")  # fmt: skip
    if prefix and source.nodes is not None:
        raise InputError(f"{name} brings its own nodes, whose ids --id-prefix cannot tell apart; "
                         "give tables of edges and nodes")  # fmt: skip

    def read(kind: str, rows: int) -> Iterator[EdgeChunk]:
        for chunk in source.read(_kind_in(source) if prefix else kind, rows):
            types = constant(file.type, len(chunk.src)) if chunk.type is None else chunk.type
            ends = (chunk.src, chunk.dst)
            if prefix:
                ends = prefixed_ids(chunk.src, file.src_type), prefixed_ids(
                    chunk.dst, file.dst_type)  # fmt: skip
            yield replace(chunk, src=ends[0], dst=ends[1], type=types)

    if not prefix:
        return replace(source, read=read)
    return replace(source, read=read, id_kind="string", declared=None)


def typed_nodes(source: NodeSource, file: TypedFile, *, prefix: bool) -> NodeSource:
    """Nodes whose type the user names, or whose column of types becomes part of their ids.

    Raises:
        InputError: ids are to be prefixed, and a node has no type.
    """
    if not prefix and not file.type:
        return source

    def read(kind: str, rows: int) -> Iterator[NodeChunk]:
        for chunk in source.read(_kind_in(source) if prefix else kind, rows):
            types = chunk.type
            if types is None and file.type:
                types = constant(file.type, len(chunk.ids))
            if types is None:
                raise InputError(f"{file.path.name} has no column of types, which --id-prefix "
                                 f"needs; write TYPE={file.path.name}")  # fmt: skip
            ids = prefixed_ids(chunk.ids, types) if prefix else chunk.ids
            yield replace(chunk, ids=ids, type=types)

    kind = "string" if prefix else source.id_kind
    return replace(source, read=read, id_kind=kind, type=file.type)


def constant(name: str, count: int) -> pa.DictionaryArray:
    """One name for every row."""
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), pa.array([name], TEXT))


def prefixed_ids(ids: Ids, types: Any) -> pa.Array:
    """ "author:17" from 17 and the type "author", one for all ids or one for each."""
    if isinstance(types, str):
        types = pa.scalar(types, TEXT)
    elif pa.types.is_dictionary(types.type):
        types = types.dictionary_decode()
    text = ids if isinstance(ids, pa.Array) else pa.array(ids).cast(TEXT)
    return pc.binary_join_element_wise(types, text, pa.scalar(":", TEXT))


def _kind_in(source: EdgeSource | NodeSource) -> str:
    """How ids are read before they get a prefix: as they stand in the file."""
    return "int" if source.id_kind == "int" else "string"
