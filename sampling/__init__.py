"""The graph at rest, and mini-batches cut from it."""

from sampling.block import Block, MiniBatch, NodeView
from sampling.clusters import ClusterLoader, cluster_nodes, edge_cut
from sampling.coarsen import Coarsening, coarsen
from sampling.exclusion import without_edges
from sampling.graph.collection import GraphCollection
from sampling.graph.collections.batch import GraphBatch
from sampling.graph.collections.meta import CollectionMeta
from sampling.graph.csc import Graph, NodeType
from sampling.graph.features import FeatureTable
from sampling.graph.ids import NodeIds
from sampling.graph.meta import GraphMeta
from sampling.graph.store import Dataset, GraphStore
from sampling.graphs_loader import GraphLoader
from sampling.importance import PinSAGESampler
from sampling.links import LinkBatch, LinkLoader
from sampling.loader import MiniBatchLoader
from sampling.negatives import NegativeSampler
from sampling.reduced import InputReduction, ReducedNeighborSampler
from sampling.saint import SAINTSampler
from sampling.sampler import FullNeighborSampler, NeighborSampler
from sampling.samplers import (
    LaborSampler,
    ReplacementNeighborSampler,
    TemporalBatch,
    TemporalNeighborSampler,
    TypedNeighborSampler,
    WeightedNeighborSampler,
)
from sampling.subgraphs import ShaDowSampler, Subgraph, induced_block
from sampling.walks import random_walks

__all__ = [
    "Block",
    "ClusterLoader",
    "Coarsening",
    "CollectionMeta",
    "Dataset",
    "FeatureTable",
    "FullNeighborSampler",
    "Graph",
    "GraphBatch",
    "GraphCollection",
    "GraphLoader",
    "GraphMeta",
    "GraphStore",
    "InputReduction",
    "LaborSampler",
    "LinkBatch",
    "LinkLoader",
    "MiniBatch",
    "MiniBatchLoader",
    "NegativeSampler",
    "NeighborSampler",
    "NodeIds",
    "NodeType",
    "NodeView",
    "PinSAGESampler",
    "ReducedNeighborSampler",
    "ReplacementNeighborSampler",
    "SAINTSampler",
    "ShaDowSampler",
    "Subgraph",
    "TemporalBatch",
    "TemporalNeighborSampler",
    "TypedNeighborSampler",
    "WeightedNeighborSampler",
    "cluster_nodes",
    "coarsen",
    "edge_cut",
    "induced_block",
    "random_walks",
    "without_edges",
]
