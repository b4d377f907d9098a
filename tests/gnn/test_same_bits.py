"""Embeddings without labels and tasks in time: trained twice, or stopped and resumed, the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from kinds_made import prepared

from gnn import train

EPOCHS = 4
CASES = {
    "walks": ("unsupervised", {"objective": "sage"}),
    "walks in batches of some neighbors": (
        "unsupervised", {"objective": "sage", "fanouts": (3, 2), "batch_size": 16}
    ),
    "infomax": ("unsupervised", {"objective": "dgi"}),
    "infomax in batches of some neighbors": (
        "unsupervised", {"objective": "dgi", "fanouts": (3, 2), "batch_size": 16}
    ),
    "latest links": ("links in time", {"batch_size": 50}),
    "any links": ("links in time", {"batch_size": 50, "strategy": "uniform", "fanouts": (3,)}),
    "nodes": ("nodes in time", {"batch_size": 8, "fanouts": (3, 2), "strategy": "uniform"}),
}  # fmt: skip


def fresh(case: str, **changes: object):
    kind, settings = CASES[case]
    model, data, config = prepared(kind, {"dropout": 0.3}, **settings, patience=None)
    return model, data, replace(config, **{"epochs": EPOCHS, **changes})


@pytest.mark.parametrize("case", CASES)
def test_training_is_the_same_bits_twice_and_after_a_stop(case: str, tmp_path):
    first, data, config = fresh(case)
    before = {name: value.clone() for name, value in first.state_dict().items()}
    losses = [report.loss for report in train(first, data, config)]
    assert any(not torch.equal(before[n], value) for n, value in first.state_dict().items())

    again, data, config = fresh(case, num_threads=3)
    torch.manual_seed(77)
    assert [report.loss for report in train(again, data, config)] == losses

    stopped, data, config = fresh(case)
    unfinished = train(stopped, data, config, resume_dir=tmp_path)
    next(unfinished)
    next(unfinished)
    unfinished.close()
    resumed, data, config = fresh(case)
    torch.manual_seed(99)
    with torch.no_grad():
        for weight in resumed.parameters():
            weight.zero_()
    reports = list(train(resumed, data, config, resume_dir=tmp_path, resume=True))
    assert [report.loss for report in reports] == losses[2:]
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("case", CASES)
def test_another_seed_gives_other_losses(case: str):
    one, other = (
        [report.loss for report in train(model, data, config)]
        for model, data, config in (fresh(case), fresh(case, seed=1))
    )
    assert one != other
