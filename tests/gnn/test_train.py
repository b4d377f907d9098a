"""Training: the same bits twice, resumed or not; what cannot be trained on is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gnn import EpochReport, TrainConfig, evaluate, train
from gnn.errors import DivergedError, ResumeError, SchemaMismatchError, TrainingError
from gnn.optimize import Stepper
from gnn.resume import STATE_FILE
from gnn.tasks import outputs
from sampling import Dataset, FeatureTable, NodeIds
from sampling.errors import DamagedError, InputError

SAMPLED = TrainConfig(epochs=6, batch_size=8, fanouts=(3, 2), seed=7)
WHOLE = TrainConfig(epochs=6, seed=7)


def weights_after(model, data, config, **options) -> tuple[dict[str, Tensor], list[EpochReport]]:
    reports = list(train(model, data, config, **options))
    return model.state_dict(), reports


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("conv", ["gcn", "sage"])
@pytest.mark.parametrize("config", [SAMPLED, WHOLE])
def test_the_same_configuration_gives_the_same_bits(data, make_model, config, conv):
    one, first = weights_after(make_model(conv=conv), data, config)
    torch.rand(3)
    other, second = weights_after(make_model(conv=conv), data, config)
    assert_same_bits(one, other)
    assert [r.loss for r in first] == [r.loss for r in second]
    changed, _ = weights_after(make_model(conv=conv), data, replace(config, seed=8))
    assert not torch.equal(one["convs.0." + _some(one)], changed["convs.0." + _some(one)])


def _some(weights: dict[str, Tensor]) -> str:
    return next(n.removeprefix("convs.0.") for n in weights if n.startswith("convs.0."))


def test_training_leaves_the_callers_randomness_and_threads_alone(data, make_model):
    model = make_model()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    before = torch.get_num_threads()
    list(train(model, data, replace(SAMPLED, num_threads=1)))
    assert torch.equal(torch.rand(4), expected)
    assert torch.get_num_threads() == before


WHOLE_AND_SAMPLED = [
    SAMPLED,
    replace(WHOLE, patience=2, optimizer="adamw"),
    replace(SAMPLED, lr_schedule="cosine", lr_warmup=7, max_grad_norm=0.1, label_smoothing=0.1),
    replace(SAMPLED, lr_schedule="plateau", lr_every=1, lr=0.3, balanced_seeds=True),
    replace(SAMPLED, lr_schedule="step", lr_every=2, focal_gamma=2.0, optimizer="adamw"),
]


@pytest.mark.parametrize("config", WHOLE_AND_SAMPLED)
@pytest.mark.parametrize("stop_after", [1, 3])
def test_stopping_between_epochs_and_resuming_gives_the_same_bits(
    data, make_model, tmp_path, config, stop_after
):
    whole, reports = weights_after(make_model(norm="batch"), data, config)
    unfinished = train(make_model(norm="batch"), data, config, resume_dir=tmp_path)
    for _ in range(stop_after):
        next(unfinished)
    unfinished.close()
    resumed, rest = weights_after(
        make_model(seed=99, norm="batch"), data, config, resume_dir=tmp_path, resume=True
    )
    assert_same_bits(whole, resumed)
    assert [r.metrics for r in rest] == [r.metrics for r in reports[stop_after:]]


def test_resuming_finished_training_gives_its_weights_and_no_epochs(data, make_model, tmp_path):
    done, _ = weights_after(make_model(), data, SAMPLED, resume_dir=tmp_path)
    again, reports = weights_after(
        make_model(seed=5), data, SAMPLED, resume_dir=tmp_path, resume=True
    )
    assert_same_bits(done, again)
    assert reports == []


def test_more_epochs_continue_a_finished_training(data, make_model, tmp_path):
    list(train(make_model(), data, replace(SAMPLED, epochs=3), resume_dir=tmp_path))
    longer, _ = weights_after(make_model(), data, SAMPLED, resume_dir=tmp_path, resume=True)
    assert_same_bits(longer, weights_after(make_model(), data, SAMPLED)[0])


def test_a_cosine_is_not_continued_to_another_number_of_epochs(data, make_model, tmp_path):
    config = replace(SAMPLED, lr_schedule="cosine")
    list(train(make_model(), data, replace(config, epochs=3), resume_dir=tmp_path))
    with pytest.raises(ResumeError, match="another epochs"):
        list(train(make_model(), data, config, resume_dir=tmp_path, resume=True))


def test_resuming_with_other_settings_names_them(data, make_model, tmp_path):
    list(train(make_model(), data, SAMPLED, resume_dir=tmp_path))
    other = replace(SAMPLED, lr=0.5, seed=1)
    with pytest.raises(ResumeError, match="another lr, seed"):
        list(train(make_model(), data, other, resume_dir=tmp_path, resume=True))


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_damaged_training_state_is_named(data, make_model, tmp_path, damage):
    list(train(make_model(), data, SAMPLED, resume_dir=tmp_path))
    state = tmp_path / STATE_FILE
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(DamagedError, match=STATE_FILE):
        list(train(make_model(), data, SAMPLED, resume_dir=tmp_path, resume=True))


def test_training_learns_and_keeps_the_best_epoch(data, make_model):
    model = make_model(dropout=0.0, head="none")
    config = replace(WHOLE, epochs=60, lr=0.05)
    before = evaluate(model, data, "val")
    reports = list(train(model, data, config))
    best = max(r.metrics["val"]["accuracy"] for r in reports)
    after = evaluate(model, data, "val")
    assert after["accuracy"] == best > before["accuracy"] + 0.3
    assert reports[-1].loss < reports[0].loss / 2
    winner = reports[reports[-1].best_epoch - 1].metrics["val"]
    ties = [r.metrics["val"]["loss"] for r in reports if r.metrics["val"]["accuracy"] == best]
    assert winner["loss"] == min(ties)


def test_regression_answers_in_the_users_units(make_data, make_model):
    data = make_data(real=True)
    model = make_model(d_out=1, dropout=0.0)
    config = TrainConfig(
        task="node-regression", epochs=300, lr=0.05, weight_decay=0, monitor="none"
    )
    list(train(model, data, config))
    metrics = evaluate(model, data, "train", task="node-regression")
    assert metrics["r2"] > 0.9
    values = model([data.graph.block()] * 2, data.features.tensor())
    assert 40 < values.mean() < 60
    assert torch.equal(outputs("node-regression", values), values)


def test_patience_stops_early(data, make_model):
    reports = list(train(make_model(), data, replace(WHOLE, epochs=500, patience=5, lr=0.1)))
    assert len(reports) < 500
    assert reports[-1].epoch == reports[-1].best_epoch + 5


def test_balanced_class_weights_equal_repeating_the_rare_class(make_data, make_model):
    data = make_data()
    labels = np.where(data.labels == 0, 0, 1)
    few = Dataset.in_memory(data.graph, features=data.features, labels=labels, splits=data.splits)
    config = replace(WHOLE, epochs=1, class_weights="balanced")
    model = make_model(d_out=2, dropout=0.0)
    logits = model([few.graph.block()] * 2, few.features.tensor())
    rows = [logits[few.nodes_in("train")][few.labels[few.nodes_in("train")] == c] for c in (0, 1)]
    losses = [
        torch.nn.functional.cross_entropy(r, torch.full((len(r),), c)).item()
        for c, r in enumerate(rows)
    ]
    (report,) = train(model, few, config)
    assert report.loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_split_is_not_chosen_where_there_are_none(data, make_model):
    whole = Dataset.in_memory(data.graph, features=data.features, labels=data.labels,
                              classes=["a", "b", "c"])  # fmt: skip
    for act in (lambda: evaluate(make_model(), whole, split_index=1),
                lambda: next(train(make_model(), whole, TrainConfig(split_index=1)))):  # fmt: skip
        with pytest.raises(InputError, match=r"split_index is 1, and .* has no splits"):
            act()


def test_a_graph_without_splits_is_split_the_same_way_by_training_and_evaluation(data, make_model):
    free = Dataset.in_memory(data.graph, features=data.features, labels=data.labels)
    model = make_model()
    reports = list(train(model, free, replace(WHOLE, seed=3)))
    val = evaluate(model, free, "val", seed=3)
    assert val["accuracy"] == max(r.metrics["val"]["accuracy"] for r in reports)


def test_sampled_evaluation_with_all_neighbors_equals_exact(data, make_model):
    model = make_model()
    exact = evaluate(model, data, "test")
    sampled = evaluate(model, data, "test", exact=False, fanouts=[-1, -1])
    assert sampled == pytest.approx(exact)
    few = [evaluate(model, data, "test", exact=False, fanouts=[2, 2]) for _ in range(2)]
    assert few[0] == few[1]


def without(data: Dataset, **changes: object) -> Dataset:
    parts = {"features": data.features, "labels": data.labels, "splits": data.splits, **changes}
    return Dataset.in_memory(data.graph, **parts)  # type: ignore[arg-type]


BROKEN: list[tuple[str, Callable[[Dataset], Dataset]]] = [
    ("has no labels", lambda d: without(d, labels=None)),
    ("has no features", lambda d: without(d, features=None)),
    ("no node of graph", lambda d: without(d, labels=np.full(60, -1), classes=["a", "b", "c"])),
    ("no labeled train nodes", lambda d: without(d, splits=np.full(60, 2, np.uint8))),
    ("no labeled val nodes", lambda d: without(d, splits=np.full(60, 1, np.uint8))),
    ("code 2 is outside the 2 classes", lambda d: without(d, classes=["a", "b"])),
    ("need 4", lambda d: without(d, classes=["a", "b", "c", "d"])),
    ("real numbers", lambda d: without(d, labels=np.ones(60, np.float32))),
]


@pytest.mark.parametrize(("what", "breaks"), BROKEN, ids=[what for what, _ in BROKEN])
def test_what_cannot_be_trained_on_is_said(data, make_model, what, breaks):
    with pytest.raises(TrainingError, match=what):
        list(train(make_model(), breaks(data), WHOLE))


def test_without_validation_nodes_the_last_weights_are_kept_when_asked(data, make_model):
    only = without(data, splits=np.full(60, 1, np.uint8))
    reports = list(train(make_model(), only, replace(WHOLE, monitor="none")))
    assert reports[-1].best_epoch == len(reports) == 6


def test_text_labels_are_not_regressed_on_but_numbers_are(data, make_model):
    config = replace(WHOLE, task="node-regression")
    with pytest.raises(TrainingError, match="text"):
        list(train(make_model(d_out=1), without(data, classes=["a", "b", "c"]), config))
    numbers = without(data, classes=[10, 20, 30])
    model = make_model(d_out=1)
    list(train(model, numbers, config))
    train_labels = numbers.labels[numbers.nodes_in("train")]
    assert model.y_mean.item() == pytest.approx(10 + 10 * train_labels.mean(), rel=1e-5)


def test_a_loss_that_is_no_number_names_epoch_and_batch_and_keeps_the_best(
    data, make_model, tmp_path
):
    model = make_model()
    training = train(model, data, replace(SAMPLED, lr=1e30), resume_dir=tmp_path)
    with pytest.raises(DivergedError, match=r"epoch \d+, batch \d+") as caught:
        list(training)
    assert caught.value.epoch <= 3
    assert all(torch.isfinite(t).all() for t in model.state_dict().values())


def test_weights_that_break_in_the_last_step_of_an_epoch_are_noticed_in_validation(
    data, make_model
):
    training = train(make_model(dropout=0.0), data, replace(WHOLE, lr=1e30))
    with pytest.raises(DivergedError, match="in epoch 1, validation"):
        next(training)


def test_a_node_whose_features_are_not_finite_is_named_by_its_id(data, make_model):
    x = data.features.array.copy()
    x[41, 2] = np.nan
    ids = NodeIds.range(60, 1000)
    features = FeatureTable(x)
    broken = Dataset.in_memory(
        data.graph, features=features, labels=data.labels, splits=data.splits, ids=ids
    )
    with pytest.raises(DivergedError, match="node 1041 are not finite"):
        list(train(make_model(), broken, WHOLE))


def test_a_gradient_that_cannot_be_clipped_is_no_step(data, make_model):
    model = make_model()
    stepper = Stepper.of(model, replace(WHOLE, max_grad_norm=1.0))
    before = {name: w.clone() for name, w in model.state_dict().items()}
    weight = next(model.parameters())
    loss = (weight.double() * 0).sum().sqrt()  # zero, with an infinite slope
    with pytest.raises(DivergedError, match="norm of the gradient is nan in epoch 2, batch 3"):
        stepper.step(loss, 1, 2)
    assert_same_bits(before, model.state_dict())


def test_a_long_gradient_is_scaled_to_the_norm_and_a_short_one_left(data, make_model):
    model = make_model()
    for limit, expected in ((0.5, 0.5), (100.0, 3.0)):
        stepper = Stepper.of(model, replace(WHOLE, max_grad_norm=limit))
        bias = model.convs[0].own.bias
        stepper.step(bias[0] * 3.0, 0, 0)
        assert bias.grad.norm().item() == pytest.approx(expected)


def test_a_graph_with_other_features_is_refused(data, make_model):
    with pytest.raises(SchemaMismatchError, match="width 5, but the graph has 6"):
        list(train(make_model(d_in=5), data, WHOLE))
    with pytest.raises(SchemaMismatchError, match="has none"):
        evaluate(make_model(), without(data, features=None))


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": "dance"}, {"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"lr": float("nan")},
        {"lr": 1e38},
        {"weight_decay": -1.0}, {"monitor": "rmse"}, {"split": (0.5, 0.5, 0.5)}, {"patience": 0},
        {"lr_schedule": "sine"}, {"lr_every": 0}, {"lr_factor": 1.0}, {"lr_warmup": -1},
        {"max_grad_norm": 0.0}, {"focal_gamma": -1.0}, {"label_smoothing": 1.0},
        {"focal_gamma": float("nan")},
        {"optimizer": "sgd"}, {"class_weights": "some"}, {"weight_decay_layers": "last"},
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        TrainConfig(**wrong)


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(InputError, match="'plateau', which looks at validation"):
        TrainConfig(lr_schedule="plateau", monitor="none")
    for name, value in {"focal_gamma": 2.0, "label_smoothing": 0.1, "balanced_seeds": True}.items():
        with pytest.raises(InputError, match=f"{name} is .* it is for node-classification"):
            TrainConfig(task="node-regression", **{name: value})


def test_wrong_fanouts_and_parts_are_refused(data, make_model):
    with pytest.raises(InputError, match="one for each of the 2 layers"):
        list(train(make_model(), data, replace(SAMPLED, fanouts=(3,))))
    with pytest.raises(InputError, match="no part 'exam'"):
        evaluate(make_model(), data, "exam")
    with pytest.raises(InputError, match="no split 3"):
        evaluate(make_model(), data, split_index=3)
