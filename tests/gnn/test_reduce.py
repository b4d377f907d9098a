"""A model gives the same rows and gradients from a reduced hop as from a listed one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnn import ModelConfig, TrainConfig, build_model, train
from gnn.reduce import input_reduction, reduce_inputs
from sampling import Dataset, MiniBatchLoader, NeighborSampler, ReducedNeighborSampler
from sampling.errors import InputError

LINEAR = [("sage", "mean"), ("sage", "sum"), ("sage", "gcn"), ("gcn", "mean")]


def model_for(data: Dataset, conv: str, aggregator: str, hidden: int, norm: str, dropout: float):
    torch.manual_seed(0)
    config = ModelConfig(
        conv=conv,
        aggregator=aggregator,
        d_in=data.features.dim,
        d_hidden=hidden,
        d_out=3,
        input_norm=norm,
        dropout=dropout,
    )
    return build_model(config)


@pytest.mark.parametrize(("conv", "aggregator"), LINEAR)
@pytest.mark.parametrize("hidden", [2, 40])
@pytest.mark.parametrize("norm", ["none", "row"])
def test_rows_and_gradients_are_those_of_the_listed_hop(data, conv, aggregator, hidden, norm):
    model = model_for(data, conv, aggregator, hidden, norm, dropout=0.5)
    sampler = NeighborSampler(data.graph, [4, 3], seed=1)
    reduced = ReducedNeighborSampler(sampler, data.features, input_reduction(model, data))
    results = []
    for source in (sampler, reduced):
        [batch] = MiniBatchLoader(data, source, np.arange(30), 30, resample=False)
        model.zero_grad()
        out = model(batch.blocks, batch.x)
        out.square().sum().backward()
        results.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    for listed, fused in zip(*results, strict=True):
        torch.testing.assert_close(listed, fused, rtol=1e-4, atol=1e-4)


def test_what_is_not_linear_or_drops_inputs_is_not_reduced(data):
    assert input_reduction(model_for(data, "sage", "max", 8, "none", 0.0), data) is None
    dropping = model_for(data, "sage", "mean", 8, "none", 0.5)
    assert input_reduction(dropping, data, training=True) is None
    assert input_reduction(dropping, data) is not None


def test_dropping_out_the_inputs_of_a_reduced_hop_is_refused(data):
    model = model_for(data, "sage", "mean", 8, "none", 0.5)
    sampler = reduce_inputs(NeighborSampler(data.graph, [2, 2]), model, data)
    blocks = sampler.sample(np.arange(5))
    with pytest.raises(InputError, match="no input rows left to drop out"):
        model.train()(blocks, data.features.gather(blocks[0].src_nodes))


def test_a_hop_is_listed_where_its_sources_repeat_often(data):
    model = model_for(data, "sage", "mean", 8, "none", 0.0)
    few = NeighborSampler(data.graph, [2, 2])
    assert isinstance(reduce_inputs(few, model, data), ReducedNeighborSampler)
    every = NeighborSampler(data.graph, [-1, -1, -1])
    block = every.sample(np.arange(min(256, data.graph.num_nodes)))[0]
    listed = block.num_edges > 4 * block.num_src
    assert (reduce_inputs(every, model, data) is every) == listed


def test_training_without_dropout_reduces_and_learns(data):
    model = model_for(data, "sage", "mean", 16, "none", 0.0)
    config = TrainConfig(epochs=8, fanouts=(3, 3), batch_size=64, num_threads=1, lr=0.01)
    losses = [report.loss for report in train(model, data, config)]
    assert losses[-1] < losses[0]
