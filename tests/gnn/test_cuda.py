"""What only a real accelerator can show. These tests run where torch finds CUDA."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnn import ModelConfig, TrainConfig, build_model, evaluate, train
from gnn.dropout import dropout
from gnn.errors import DeviceMemoryError
from gnn.transfer import moved
from sampling import Dataset, Graph, MiniBatchLoader, NeighborSampler

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA here")


def learnable(num_nodes: int = 2000) -> Dataset:
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, num_nodes, (2, 10 * num_nodes))
    x = rng.normal(size=(num_nodes, 16)).astype(np.float32)
    return Dataset.in_memory(
        Graph.from_edges(src, dst, num_nodes=num_nodes),
        features=x,
        labels=x[:, :4].argmax(axis=1),
        splits=rng.choice([1, 1, 2, 3], num_nodes).astype(np.uint8),
        classes=["a", "b", "c", "d"],
    )


def model_of(conv: str = "sage", dropout: float = 0.0):
    torch.manual_seed(0)
    return build_model(
        ModelConfig(d_in=16, d_hidden=32, d_out=4, conv=conv, num_layers=2, dropout=dropout)
    )


CONFIG = {"epochs": 10, "batch_size": 256, "fanouts": (10, 5), "lr": 0.01}


@pytest.mark.parametrize("conv", ["sage", "gcn", "gat", "gatv2", "gin", "pna", "transformer"])
def test_losses_follow_those_of_the_cpu(conv: str):
    losses = [
        [r.loss for r in train(model_of(conv), learnable(), TrainConfig(**CONFIG, device=device))]
        for device in ("cpu", "cuda")
    ]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.02)
    assert losses[1][-1] == pytest.approx(losses[0][-1], rel=0.2, abs=0.05)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns(precision: str):
    model, data = model_of(dropout=0.2), learnable()
    list(train(model, data, TrainConfig(**CONFIG, device="cuda", precision=precision)))
    assert model.device.type == "cpu"
    assert evaluate(model, data, "test")["accuracy"] > 0.8
    assert evaluate(model.cuda(), data, "test")["accuracy"] > 0.8


def test_batches_arrive_as_they_were_prepared():
    data = learnable()
    sampler = NeighborSampler(data.graph, [10, 5], seed=1)
    loader = MiniBatchLoader(data, sampler, np.arange(1000), 128, num_workers=2)
    here = list(loader)
    loader.epoch = 0
    for there, batch in zip(moved(loader, torch.device("cuda", 0)), here, strict=True):
        assert there.x.is_cuda
        assert torch.equal(there.x.cpu(), batch.x)
        for one, two in zip(there.blocks, batch.blocks, strict=True):
            assert torch.equal(one.indices.cpu(), two.indices)
            assert torch.equal(one.src_degrees().cpu(), two.src_degrees())


def test_dropout_has_its_share_there():
    kept = dropout(torch.ones(1000, 1000, device="cuda"), 0.3)
    assert (kept == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert kept.max().item() == pytest.approx(1 / 0.7)


def test_a_step_without_room_is_named():
    free, _ = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.raises(DeviceMemoryError, match="batch size 256"):
            list(train(model_of(), learnable(), TrainConfig(**CONFIG, device="cuda")))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert free > 0
