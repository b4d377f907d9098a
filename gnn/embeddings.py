"""Embeddings of all nodes of a graph, at rest.

embeddings.json       model, graph, checksums
embeddings.npy        (num_nodes, d) float32 or float16
predictions.npy       (num_nodes, d_out) float32: probabilities or values; optional
part-00000.parquet …  in place of both, for the Parquet format: node ids in the first column
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import xxhash
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sampling.errors import DamagedError, FutureFormatError, InputError
from sampling.graph.arrays import open_array, read_json, verify_array
from sampling.graph.meta import ArrayInfo

__all__ = ["EMBEDDINGS", "MANIFEST", "PREDICTIONS", "EmbeddingMeta", "EmbeddingTable"]

FORMAT_VERSION = 1
MANIFEST, EMBEDDINGS, PREDICTIONS = "embeddings.json", "embeddings", "predictions"


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
    storage: Literal["float32", "float16"]
    arrays: dict[str, ArrayInfo] = Field(default_factory=dict)
    parts: dict[str, str] = Field(default_factory=dict, description="Parquet file to xxh3-64")
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
        embeddings: (num_nodes, d), row i of node i.
        predictions: (num_nodes, d_out) float32, or None.
    """

    path: Path
    meta: EmbeddingMeta
    embeddings: NDArray[Any]
    predictions: NDArray[Any] | None

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
        return cls(path, meta, arrays[EMBEDDINGS], arrays.get(PREDICTIONS))


def read_meta(path: Path) -> EmbeddingMeta:
    """The manifest of a directory of embeddings, checked.

    Raises:
        DamagedError: it is missing, changed, or not a manifest.
        FutureFormatError: written by a newer version of this project.
    """
    content = read_json(path / MANIFEST)
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FutureFormatError(path, version, FORMAT_VERSION)
    try:
        meta = EmbeddingMeta.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamagedError(path, MANIFEST, f"is wrong at {where}: {first['msg']}") from None
    if meta.digest != _digest(content):
        raise DamagedError(path, MANIFEST, "does not have the digest of its content")
    return meta


def _infos(path: Path, meta: EmbeddingMeta) -> dict[str, ArrayInfo]:
    """The arrays that the manifest must list, with the shapes that it must give them."""
    expected = {EMBEDDINGS: (meta.num_nodes, meta.dim)}
    if meta.num_outputs:
        expected[PREDICTIONS] = (meta.num_nodes, meta.num_outputs)
    shapes = {name: info.shape for name, info in meta.arrays.items()}
    if shapes != expected:
        raise DamagedError(path, MANIFEST, f"lists arrays {shapes} instead of {expected}")
    return meta.arrays


def _digest(content: Mapping[str, Any]) -> str:
    described = {key: value for key, value in content.items() if key != "digest"}
    return str(xxhash.xxh3_64(json.dumps(described, sort_keys=True).encode()).hexdigest())
