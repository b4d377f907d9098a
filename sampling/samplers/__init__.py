"""Samplers by other rules than uniform choice: by weight, by type, by time, by layer."""

from sampling.samplers.labor import LaborSampler
from sampling.samplers.replace import ReplacementNeighborSampler
from sampling.samplers.temporal import TemporalBatch, TemporalNeighborSampler
from sampling.samplers.typed import TypedNeighborSampler
from sampling.samplers.weighted import WeightedNeighborSampler

__all__ = [
    "LaborSampler",
    "ReplacementNeighborSampler",
    "TemporalBatch",
    "TemporalNeighborSampler",
    "TypedNeighborSampler",
    "WeightedNeighborSampler",
]
