"""What `graphs.json` says: counts, targets, the schema of features, checksums and provenance."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sampling.graph.meta import ArrayInfo, IdInfo, LabelInfo

__all__ = ["COLLECTION_FORMAT_VERSION", "CollectionMeta"]

COLLECTION_FORMAT_VERSION = 1

Cardinality = Annotated[int, Field(ge=1, le=1 << 24)]


class CollectionMeta(BaseModel):
    """The manifest of a collection directory.

    A column of features is categorical where `node_cardinalities` (`edge_cardinalities`) says
    how many codes it has: a model looks its rows up in an embedding. Where that is None, all
    columns are plain numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = COLLECTION_FORMAT_VERSION
    name: str
    version: int = Field(default=1, ge=1, description="grows with every accepted change")
    num_graphs: int = Field(ge=0)
    num_nodes: int = Field(ge=0)
    num_edges: int = Field(ge=0)
    feature_dim: int = Field(default=0, ge=0)
    edge_dim: int = Field(default=0, ge=0)
    has_positions: bool = False
    node_feature_names: tuple[str, ...] | None = None
    edge_feature_names: tuple[str, ...] | None = None
    node_cardinalities: tuple[Cardinality, ...] | None = None
    edge_cardinalities: tuple[Cardinality, ...] | None = None
    labels: LabelInfo | None = None
    target_names: tuple[str, ...] = Field(default=(), description="one for each target")
    num_splits: int = Field(default=0, ge=0)
    ids: IdInfo
    provenance: dict[str, Any] = Field(default_factory=dict)
    arrays: dict[str, ArrayInfo] = Field(default_factory=dict)
    nodes: str = Field(default="", description="fingerprint of the graph of all nodes")
    fingerprint: str = Field(default="", description="digest of all checksums: equal content")

    @property
    def num_targets(self) -> int:
        """Columns of the labels; 0 without labels, 1 for classes."""
        return 0 if self.labels is None else max(len(self.target_names), 1)
