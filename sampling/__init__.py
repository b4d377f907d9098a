"""The graph at rest, and mini-batches cut from it."""

from sampling.block import Block, MiniBatch
from sampling.graph.csc import Graph, NodeType
from sampling.graph.features import FeatureTable
from sampling.graph.ids import NodeIds
from sampling.graph.meta import GraphMeta
from sampling.graph.store import Dataset, GraphStore
from sampling.loader import MiniBatchLoader
from sampling.reduced import InputReduction, ReducedNeighborSampler
from sampling.sampler import FullNeighborSampler, NeighborSampler

__all__ = [
    "Block",
    "Dataset",
    "FeatureTable",
    "FullNeighborSampler",
    "Graph",
    "GraphMeta",
    "GraphStore",
    "InputReduction",
    "MiniBatch",
    "MiniBatchLoader",
    "NeighborSampler",
    "NodeIds",
    "NodeType",
    "ReducedNeighborSampler",
]
