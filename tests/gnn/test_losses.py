"""Losses: their formulas, their limits, and classes drawn equally often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from hypothesis import given
from hypothesis import strategies as st

from gnn import TrainConfig, train
from gnn.losses import balanced_seeds, class_loss, labels_loss
from sampling import Dataset


def rows(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(20, 4, generator=generator)
    y = torch.randint(0, 4, (20,), generator=generator)
    return logits, y, torch.tensor([0.5, 1.0, 2.0, 0.0])


def test_without_options_it_is_cross_entropy():
    logits, y, weight = rows()
    assert torch.equal(class_loss(logits, y), F.cross_entropy(logits, y))
    assert torch.equal(class_loss(logits, y, weight), F.cross_entropy(logits, y, weight))


def test_a_vanishing_gamma_is_cross_entropy_too():
    logits, y, weight = rows()
    got = class_loss(logits, y, weight, focal_gamma=1e-7, label_smoothing=0.2)
    expected = F.cross_entropy(logits, y, weight, label_smoothing=0.2)
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_the_focal_loss_is_that_of_the_paper(gamma):
    logits, y, weight = rows()
    p = logits.double().softmax(1)[torch.arange(20), y]
    expected = (weight[y] * (1 - p) ** gamma * -p.log()).sum() / weight[y].sum()
    assert class_loss(logits, y, weight, focal_gamma=gamma).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_certain_row_has_a_finite_loss_and_slope(gamma):
    logits = torch.tensor([[1000.0, 0.0], [0.0, 1000.0]], requires_grad=True)
    loss = class_loss(logits, torch.tensor([0, 0]), focal_gamma=gamma, label_smoothing=0.1)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def several(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(20, 3, generator=generator)
    y = torch.randint(0, 2, (20, 3), generator=generator, dtype=torch.uint8)
    return logits, y, torch.tensor([0.5, 1.0, 4.0])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_the_focal_loss_of_labels_is_that_of_the_paper_for_every_sigmoid(gamma):
    logits, y, weight = several()
    p = logits.double().sigmoid()
    true = torch.where(y == 1, p, 1 - p)
    alpha = torch.where(y == 1, weight.double(), 1.0)
    expected = (alpha * (1 - true) ** gamma * -true.log()).mean().item()
    got = labels_loss(logits, y, weight, focal_gamma=gamma).item()
    assert got == pytest.approx(expected, rel=1e-5)
    assert labels_loss(logits, y, focal_gamma=1e-7).item() == pytest.approx(
        F.binary_cross_entropy_with_logits(logits, y.float()).item(), rel=1e-5
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_certain_labels_have_a_finite_loss_and_slope(gamma):
    logits = torch.tensor([[1000.0, -1000.0], [-1000.0, 1000.0]], requires_grad=True)
    loss = labels_loss(logits, torch.tensor([[1, 0], [1, 0]]), focal_gamma=gamma)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 50),
)
def test_every_class_is_drawn_equally_often_and_nothing_else(counts, seed, epoch):
    y = np.repeat(np.arange(len(counts)), counts)
    nodes = np.arange(len(y)) * 3
    seeds = balanced_seeds(nodes, y, seed, epoch)
    each = -(-len(y) // len(counts))
    assert np.bincount(y[seeds // 3], minlength=len(counts)).tolist() == [each] * len(counts)
    assert set(seeds.tolist()) <= set(nodes.tolist())
    times = np.bincount(seeds // 3, minlength=len(y))
    for c, count in enumerate(counts):
        own = times[y == c]
        assert own.max() - own.min() <= 1, "a round ends before the next begins"
        assert own.sum() == each
        assert count >= each or own.min() >= 1
    assert np.array_equal(seeds, balanced_seeds(nodes, y, seed, epoch))


def test_other_epochs_draw_another_part_of_a_frequent_class():
    y = np.array([0] * 90 + [1] * 10)
    drawn = [set(balanced_seeds(np.arange(100), y, 1, epoch).tolist()) for epoch in range(2)]
    assert drawn[0] != drawn[1]


def test_a_rare_class_is_found_when_seeds_are_balanced(make_data, make_model):
    data = make_data()
    rare = np.where(data.features.array[:, 0] > 1.2, 1, 0)
    few = Dataset.in_memory(
        data.graph, features=data.features, labels=rare, splits=np.ones(60, np.uint8)
    )
    config = TrainConfig(epochs=12, batch_size=16, lr=0.02, monitor="none", weight_decay=0)

    def share_called_rare(config: TrainConfig) -> float:
        model = make_model(d_out=2, dropout=0.0)
        list(train(model, few, config))
        logits = model([few.graph.block()] * 2, few.features.tensor())
        return float(logits.detach().softmax(1)[:, 1].mean())

    assert share_called_rare(replace(config, balanced_seeds=True)) > share_called_rare(config)
