"""Embeddings of all nodes of a graph, at rest.

embeddings.json       model, graph, checksums
embeddings.npy        (num_nodes, d) float32, float16, uint16 (bits of bfloat16) or int8
index.usearch         nearest rows by cosine (`gnn.similar`); optional
map.npy               (num_nodes, 2) float32, rows in the plane (`gnn.projection`); optional
embeddings_scale.npy  (d,) float32, the step of every column; int8 only
predictions.npy       (num_nodes, d_out) float32: probabilities or values; optional
part-00000.parquet …  in place of both, for the Parquet format: node ids in the first column
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from gnn.storage import dtype_of
from sampling import kernels
from sampling.errors import DamagedError, InputError
from sampling.graph.arrays import open_array, read_json, verify_array
from sampling.graph.manifest import parsed
from sampling.graph.meta import ArrayInfo

__all__ = [
    "EMBEDDINGS",
    "INDEX_FILE",
    "MANIFEST",
    "MAP",
    "PREDICTIONS",
    "SCALE",
    "EmbeddingMeta",
    "EmbeddingTable",
    "IndexInfo",
    "StorageName",
    "file_checksum",
    "read_meta",
]

FORMAT_VERSION = 3
MANIFEST, EMBEDDINGS, PREDICTIONS = "embeddings.json", "embeddings", "predictions"
SCALE, MAP = "embeddings_scale", "map"
INDEX_FILE = "index.usearch"

StorageName = Literal["float32", "float16", "bfloat16", "int8"]


class IndexInfo(BaseModel):
    """What `embeddings.json` says of the index of nearest rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_bytes: int = Field(ge=0)
    xxh3: str = Field(description="xxh3-64 of the file")


class EmbeddingMeta(BaseModel):
    """What `embeddings.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    format: Literal["npy", "parquet"] = "npy"
    model_name: str
    model_version: int
    model_digest: str
    task: str
    classes: list[int] | list[str]
    graph_name: str
    graph_version: int
    graph_fingerprint: str
    num_nodes: int = Field(ge=0)
    dim: int = Field(ge=1)
    num_outputs: int = Field(ge=0, description="width of the predictions, 0 without them")
    storage: StorageName
    layer_storage: StorageName = Field(default="float32", description="of rows between layers")
    max_error: float = Field(default=0.0, ge=0, description="largest error of rounding a value")
    arrays: dict[str, ArrayInfo] = Field(default_factory=dict)
    parts: dict[str, str] = Field(default_factory=dict, description="Parquet file to xxh3-64")
    index: IndexInfo | None = Field(default=None, description="of the nearest rows by cosine")
    digest: str = Field(default="", description="xxh3-64 of all the above")

    def sealed(self) -> EmbeddingMeta:
        """The same with its digest."""
        return self.model_copy(update={"digest": _digest(self.model_dump(mode="json"))})


@dataclass(frozen=True, slots=True)
class EmbeddingTable:
    """A directory of embeddings, mapped read-only.

    Attributes:
        path: the directory.
        meta: what `embeddings.json` says.
        embeddings: (num_nodes, d), row i of node i, as they are stored; `rows` reads them.
        predictions: (num_nodes, d_out) float32, or None.
        scale: (d,) float32, the step of every column of int8 embeddings, or None.
        map: (num_nodes, 2) float32, rows in the plane, or None.
    """

    path: Path
    meta: EmbeddingMeta
    embeddings: NDArray[Any]
    predictions: NDArray[Any] | None
    scale: NDArray[Any] | None = None
    map: NDArray[Any] | None = None

    def rows(self, nodes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embeddings of these nodes, (len(nodes), d) float32."""
        found: NDArray[np.float32] = kernels.gather(self.embeddings, nodes, self.scale, 1)
        return found

    @classmethod
    def open(cls, path: str | Path, verify: bool = True) -> EmbeddingTable:
        """Map a directory of embeddings.

        Args:
            path: the directory.
            verify: read every byte once and compare checksums.

        Raises:
            DamagedError: names the file and what is wrong with it.
            FutureFormatError: written by a newer version of this project.
            InputError: it was written as Parquet, which is for other programs.
        """
        path = Path(path)
        meta = read_meta(path)
        if meta.format == "parquet":
            raise InputError(f"{path} holds Parquet parts; embed with --format npy to read it here")
        arrays = {name: open_array(path, name, info) for name, info in _infos(path, meta).items()}
        if verify:
            for name, array in arrays.items():
                verify_array(path, name, meta.arrays[name], array)
        if meta.index is not None:
            _check_index(path, meta.index, verify)
        others = (arrays.get(name) for name in (PREDICTIONS, SCALE, MAP))
        return cls(path, meta, arrays[EMBEDDINGS], *others)


def file_checksum(path: Path) -> str:
    """xxh3-64 of a file."""
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            digest.update(part)
    return str(digest.hexdigest())


def read_meta(path: Path) -> EmbeddingMeta:
    """The manifest of a directory of embeddings, checked.

    Raises:
        DamagedError: it is missing, changed, or not a manifest.
        FutureFormatError: written by a newer version of this project.
    """
    content = read_json(path / MANIFEST)
    meta = parsed(path, MANIFEST, EmbeddingMeta, content, FORMAT_VERSION)
    if meta.digest != _digest(content):
        raise DamagedError(path, MANIFEST, "does not have the digest of its content")
    return meta


def _check_index(path: Path, info: IndexInfo, verify: bool) -> None:
    """Refuse an index that is not the one that was written: native code is to read it."""
    file = path / INDEX_FILE
    if file.is_symlink() or not file.is_file():
        raise DamagedError(path, INDEX_FILE, "is missing, or is no file")
    size = file.stat().st_size
    if size != info.size_bytes:
        raise DamagedError(path, INDEX_FILE, f"has {size} bytes instead of {info.size_bytes}")
    if verify and file_checksum(file) != info.xxh3:
        raise DamagedError(path, INDEX_FILE, "does not have its checksum")


def _infos(path: Path, meta: EmbeddingMeta) -> dict[str, ArrayInfo]:
    """The arrays that the manifest must list, with the shapes that it must give them."""
    expected: dict[str, tuple[int, ...]] = {EMBEDDINGS: (meta.num_nodes, meta.dim)}
    if meta.storage == "int8":
        expected[SCALE] = (meta.dim,)
    if meta.num_outputs:
        expected[PREDICTIONS] = (meta.num_nodes, meta.num_outputs)
    if MAP in meta.arrays:
        expected[MAP] = (meta.num_nodes, 2)
    shapes = {name: info.shape for name, info in meta.arrays.items()}
    if shapes != expected:
        raise DamagedError(path, MANIFEST, f"lists arrays {shapes} instead of {expected}")
    if np.dtype(meta.arrays[EMBEDDINGS].dtype) != dtype_of(meta.storage):
        raise DamagedError(path, MANIFEST, f"gives {EMBEDDINGS} another type than {meta.storage}")
    return meta.arrays


def _digest(content: Mapping[str, Any]) -> str:
    described = {key: value for key, value in content.items() if key != "digest"}
    return str(xxhash.xxh3_64(json.dumps(described, sort_keys=True).encode()).hexdigest())
