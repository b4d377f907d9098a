"""What `graph.json` says: counts, types, versions, checksums and where the graph came from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FORMAT_VERSION", "ArrayInfo", "GraphMeta", "IdInfo", "LabelInfo"]

FORMAT_VERSION = 1


class ArrayInfo(BaseModel):
    """One `.npy` file of a directory: what it must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: str = Field(pattern=r"^[<|][iuf][1248]$", description="NumPy's name, little-endian")
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    xxh3: str = Field(description="xxh3-64 of the bytes behind the header, as 16 hex digits")


class IdInfo(BaseModel):
    """The scalars of a set of node ids; its arrays lie beside the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["range", "int", "string"]
    num_nodes: int = Field(ge=0)
    first: int = Field(default=0, ge=-(2**63), lt=2**63)
    salt: int = Field(default=0, ge=0, lt=2**64)


class LabelInfo(BaseModel):
    """What the labels are: class names in the order of their codes, or a real target.

    "class" is one of them for a node, "multi" any number of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["class", "real", "multi"]
    classes: list[int] | list[str] = Field(default_factory=list)


class GraphMeta(BaseModel):
    """The manifest of a graph directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    name: str
    version: int = Field(default=1, ge=1, description="grows with every accepted change")
    num_nodes: int = Field(ge=0)
    num_edges: int = Field(ge=0)
    node_types: list[tuple[str, int, int]] = Field(description="name, first node, one past last")
    edge_types: list[str]
    feature_dim: int = Field(default=0, ge=0)
    feature_storage: str | None = None
    feature_widths: dict[str, Annotated[int, Field(ge=0)]] | None = Field(
        default=None, description="columns of each node type, the first ones; where they differ"
    )
    labels: LabelInfo | None = None
    num_splits: int = Field(default=0, ge=0)
    ids: IdInfo
    provenance: dict[str, Any] = Field(default_factory=dict)
    arrays: dict[str, ArrayInfo] = Field(default_factory=dict)
    fingerprint: str = Field(default="", description="digest of all checksums: equal content")
