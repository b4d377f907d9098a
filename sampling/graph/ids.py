"""Node ids: the keys that the user brought, translated to dense nodes at the door and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling import kernels
from sampling.errors import InputError, UnknownNodeError
from sampling.graph.meta import IdInfo

__all__ = ["NodeIds"]

Id = int | str


@dataclass(frozen=True, slots=True)
class NodeIds:
    """Ids of nodes 0 … num_nodes - 1, all integers or all strings.

    Attributes:
        kind: "range" (node i has id `first + i`; nothing is stored), "int" or "string".
        num_nodes: how many.
        first: the id of node 0, for a range.
        keys: (num_nodes,) int64 ids in dense order, for "int".
        data: UTF-8 bytes of all ids one after the other, for "string".
        offsets: (num_nodes + 1,) int64 into `data`, for "string".
        table: hash table over the keys, made by the id kernels.
        salt: the salt that the table was made with.
    """

    kind: str
    num_nodes: int
    first: int = 0
    keys: NDArray[np.int64] | None = None
    data: NDArray[np.uint8] | None = None
    offsets: NDArray[np.int64] | None = None
    table: NDArray[Any] | None = None
    salt: int = 0

    @classmethod
    def range(cls, num_nodes: int, first: int = 0) -> NodeIds:
        """Ids `first`, `first + 1`, …"""
        return cls("range", num_nodes, first)

    @classmethod
    def from_ints(cls, keys: NDArray[np.int64]) -> NodeIds:
        """Ids from distinct integers in dense order.

        Raises:
            InputError: an id appears twice.
        """
        keys = np.ascontiguousarray(keys, dtype=np.int64)
        if len(keys) and (keys[1:] == keys[:-1] + 1).all() and keys[0] <= keys[-1]:
            return cls.range(len(keys), int(keys[0]))
        table, salt, duplicate = kernels.build_id_table(keys)
        if duplicate >= 0:
            raise InputError(f"node id {keys[duplicate]} appears twice; ids must be distinct")
        return cls("int", len(keys), keys=keys, table=table, salt=salt)

    @classmethod
    def from_strings(cls, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NodeIds:
        """Ids from distinct UTF-8 strings, `data[offsets[i]:offsets[i + 1]]` in dense order.

        Raises:
            InputError: an id appears twice.
        """
        table, salt, duplicate = kernels.build_string_table(data, offsets)
        if duplicate >= 0:
            twice = bytes(data[offsets[duplicate] : offsets[duplicate + 1]]).decode()
            raise InputError(f"node id {twice!r} appears twice; ids must be distinct")
        return cls("string", len(offsets) - 1, data=data, offsets=offsets, table=table, salt=salt)

    @property
    def is_string(self) -> bool:
        return self.kind == "string"

    def find_ints(self, ids: NDArray[np.int64], num_threads: int = 1) -> NDArray[np.int64]:
        """Dense node of every integer id, -1 where there is none."""
        if self.kind == "range":
            inside = (ids >= self.first) & (ids < self.first + self.num_nodes)
            return np.where(inside, ids - self.first, np.int64(-1))
        if self.keys is None or self.table is None:
            return np.full(len(ids), -1, np.int64)
        return kernels.find_ids(self.keys, self.table, self.salt, ids, num_threads)

    def find_strings(
        self, data: NDArray[np.uint8], offsets: NDArray[np.int64], num_threads: int = 1
    ) -> NDArray[np.int64]:
        """Dense node of every UTF-8 string id, -1 where there is none."""
        if self.data is None or self.offsets is None or self.table is None:
            return np.full(len(offsets) - 1, -1, np.int64)
        return kernels.find_strings(
            self.data, self.offsets, self.table, self.salt, data, offsets, num_threads
        )

    def find(self, ids: Sequence[Id]) -> NDArray[np.int64]:
        """Dense node of every id, -1 where there is none; an id of the other type is unknown.

        Example:
            >>> NodeIds.range(3, first=10).find([12, 10, 7, "10"]).tolist()
            [2, 0, -1, -1]
        """
        out = np.full(len(ids), -1, np.int64)
        wanted = str if self.is_string else int
        place = [i for i, key in enumerate(ids) if type(key) is wanted and _fits(key)]
        if not place:
            return out
        keys = [ids[i] for i in place]
        if self.is_string:
            out[place] = self.find_strings(*encode_strings([str(key) for key in keys]))
        else:
            out[place] = self.find_ints(np.array(keys, np.int64))
        return out

    def to_dense(self, ids: Sequence[Id]) -> NDArray[np.int64]:
        """Dense node of every id, (len(ids),) int64.

        Raises:
            UnknownNodeError: some ids are not in the graph; it lists them.
        """
        rows = self.find(ids)
        if (rows < 0).any():
            raise UnknownNodeError([ids[i] for i in np.flatnonzero(rows < 0).tolist()])
        return rows

    def to_ids(self, nodes: NDArray[np.int64]) -> list[int] | list[str]:
        """Ids of dense nodes."""
        if self.data is not None and self.offsets is not None:
            starts, ends = self.offsets[nodes].tolist(), self.offsets[nodes + 1].tolist()
            return [self.data[a:b].tobytes().decode() for a, b in zip(starts, ends, strict=True)]
        return [int(key) for key in self.to_ints(nodes).tolist()]

    def to_ints(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Integer ids of dense nodes, as an array."""
        assert not self.is_string, "string ids have no integers"
        return nodes + self.first if self.keys is None else self.keys[nodes]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a store keeps of these ids: nothing for a range."""
        named = {
            "ids": self.keys,
            "ids_data": self.data,
            "ids_offsets": self.offsets,
            "ids_table": self.table,
        }
        return {name: array for name, array in named.items() if array is not None}

    def header(self) -> IdInfo:
        """The scalars that go with `arrays`."""
        return IdInfo.model_validate(
            {"kind": self.kind, "num_nodes": self.num_nodes, "first": self.first, "salt": self.salt}
        )

    @classmethod
    def from_arrays(cls, header: IdInfo, arrays: Mapping[str, NDArray[Any]]) -> NodeIds:
        """The ids that `header` and `arrays` describe."""
        return cls(
            **header.model_dump(),
            keys=arrays.get("ids"),
            data=arrays.get("ids_data"),
            offsets=arrays.get("ids_offsets"),
            table=arrays.get("ids_table"),
        )


def encode_strings(keys: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """UTF-8 bytes of all keys one after the other, and their (len(keys) + 1,) offsets."""
    raw = [key.encode("utf-8", "surrogatepass") for key in keys]
    offsets = np.zeros(len(raw) + 1, np.int64)
    np.cumsum([len(b) for b in raw], out=offsets[1:])
    return np.frombuffer(b"".join(raw), np.uint8), offsets


def _fits(key: Id) -> bool:
    return isinstance(key, str) or -(2**63) <= key < 2**63
