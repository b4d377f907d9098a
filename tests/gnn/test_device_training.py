"""Whole trainings on a pretended accelerator give what plain operations give on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from elsewhere import CUDA, Elsewhere, pretended_cuda

from gnn import GNN, ModelConfig, TrainConfig, build_model, evaluate, train
from gnn.data import Data
from gnn.device import plain_operations
from gnn.distributed import Ranks
from gnn.errors import DeviceMemoryError, DivergedError
from gnn.optimize import LEAST_SCALE, Stepper
from gnn.precision import autocast_dtype
from sampling import Dataset, Graph, NodeType
from sampling.errors import InputError
from sampling.graph.collection import GraphCollection

CPU = torch.device("cpu")
SIZES = {"d_in": 5, "d_hidden": 8, "d_out": 3, "num_layers": 2, "dropout": 0.3}
LINKS = {"d_out": 1, "decoder": "mlp", "head": "none"}


def nodes() -> Dataset:
    """Labels that follow the features; edges and nodes have times."""
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, 60, (2, 300))
    x = rng.normal(size=(60, 5)).astype(np.float32)
    return Dataset.in_memory(
        Graph.from_edges(src, dst, num_nodes=60, edge_time=rng.permutation(300)),
        features=x,
        labels=x[:, :3].argmax(axis=1),
        splits=rng.choice([1, 1, 2, 3], 60).astype(np.uint8),
        classes=["a", "b", "c"],
        node_time=rng.integers(100, 300, 60),
    )


def triples() -> Dataset:
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, 40, (2, 240))
    types = {"edge_type": rng.integers(0, 3, 240), "edge_types": ("r", "s", "t")}
    graph = Graph.from_edges(src, dst, num_nodes=40, **types)
    return Dataset.in_memory(graph, features=rng.normal(size=(40, 5)).astype(np.float32))


def ratings() -> Dataset:
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 20, 200), 20 + rng.integers(0, 30, 200)
    types = (NodeType("user", 0, 20), NodeType("item", 20, 50))
    graph = Graph.from_edges(user, item, num_nodes=50, node_types=types)
    return Dataset.in_memory(graph, features=rng.normal(size=(50, 5)).astype(np.float32))


def rings() -> GraphCollection:
    """Rings of 4 to 9 nodes, the longer ones of class 1."""
    rng, parts = np.random.default_rng(0), []
    for i in range(40):
        at = np.arange(4 + i % 6)
        graph = Graph.from_edges(at, np.roll(at, 1), num_nodes=len(at))
        parts.append(Dataset.in_memory(graph, features=rng.normal(size=(len(at), 5))))
    splits = np.resize(np.array([1, 1, 1, 2, 3], np.uint8), 40)[:, None]
    labels = (np.arange(40) % 6 > 2).astype(np.int64)
    return GraphCollection.from_graphs(parts, labels=labels, splits=splits, classes=["s", "l"])


@dataclass(frozen=True)
class Case:
    """A training: on what, of what, how."""

    data: Callable[[], Data]
    model: dict[str, object] = field(default_factory=dict)
    config: dict[str, object] = field(default_factory=dict)

    def run(self, device: str, **changes: object) -> tuple[GNN, list[dict[str, object]]]:
        """The trained model, and the history of its epochs."""
        model = self.fresh()
        return model, list(train(model, self.data(), self.settings(device, **changes)))[-1].history

    def fresh(self) -> GNN:
        torch.manual_seed(0)
        return build_model(ModelConfig(**SIZES | self.model))  # type: ignore[arg-type]

    def settings(self, device: str, **changes: object) -> TrainConfig:
        given = {"epochs": 2, "batch_size": 16, "fanouts": (4, 3), "device": device}
        return TrainConfig(**given | self.config | changes)  # type: ignore[arg-type]


CASES = {
    "nodes": Case(nodes, {"norm": "batch"}, {"class_weights": "balanced"}),
    "nodes, hop reduced": Case(nodes, {"dropout": 0.0}),
    "nodes, whole": Case(nodes, {"conv": "gcn"}, {"fanouts": None, "batch_size": 100}),
    "nodes in time": Case(nodes, {"conv": "tgat"}, {"temporal": True, "max_grad_norm": 1.0}),
    "graphs": Case(
        rings, {"conv": "gin", "readout": "set2set", "d_out": 2, "pooling": "topk"},
        {"task": "graph-classification", "fanouts": None},
    ),
    "graphs, matched": Case(
        rings, {"conv": "gin", "readout": "mean", "d_out": 2, "pooling": "matching"},
        {"task": "graph-classification", "fanouts": None},
    ),
    "links, whole": Case(nodes, LINKS, {"task": "link-prediction", "epochs": 1, "batch_size": 64}),
    "links, blocks": Case(nodes, LINKS, {"task": "link-prediction", "max_train_seeds": 7}),
    "triples": Case(
        triples, LINKS | {"conv": "rgcn", "num_relations": 3, "decoder": "distmult"},
        {"task": "link-prediction", "num_negatives": 5, "epochs": 1, "batch_size": 64},
    ),
    "items": Case(ratings, LINKS | {"decoder": "dot"}, {"task": "link-prediction"}),
    "links in time": Case(
        nodes, LINKS | {"conv": "tgat"},
        {"task": "link-prediction", "temporal": True, "epochs": 1, "max_val_seeds": 20,
         "max_train_seeds": 64},
    ),
    "walks": Case(nodes, LINKS | {"decoder": "dot"}, {"task": "unsupervised"}),
    "infomax": Case(
        nodes, LINKS | {"conv": "gcn", "decoder": "bilinear"},
        {"task": "unsupervised", "objective": "dgi"},
    ),
}  # fmt: skip


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """CUDA, in name, to those who choose it by name."""
    monkeypatch.setattr("gnn.distributed.chosen_device", lambda name: torch.device(name, 0))
    with pretended_cuda(monkeypatch) as device:
        yield device


@pytest.mark.parametrize("name", CASES)
def test_a_training_there_is_the_training_here(name: str, cuda: torch.device, monkeypatch):
    if name == "links, blocks":
        monkeypatch.setattr("gnn.sessions.link.WholeGraph.fits", lambda *_: False)
    with plain_operations():
        model, expected = CASES[name].run("cpu")
    other, got = CASES[name].run("cuda")
    for one, two in zip(got, expected, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        assert one["val"] == pytest.approx(two["val"], rel=1e-4, abs=1e-5)
    for key, weights in model.state_dict().items():
        assert not isinstance(other.state_dict()[key], Elsewhere), "it comes home in the end"
        torch.testing.assert_close(other.state_dict()[key], weights, rtol=1e-4, atol=1e-5)


def test_a_training_is_resumed_on_another_device(cuda: torch.device, tmp_path: Path):
    case = CASES["nodes"]
    with plain_operations():
        _, expected = case.run("cpu", epochs=4)
    model, data = case.fresh(), case.data()
    with closing(train(model, data, case.settings("cuda", epochs=4), resume_dir=tmp_path)) as run:
        for _ in range(2):
            next(run)
    assert model.device == CPU
    for device in ("cpu", "cuda"):
        settings = case.settings(device, epochs=3 if device == "cpu" else 4)
        with plain_operations():
            reports = list(train(case.fresh(), data, settings, resume_dir=tmp_path, resume=True))
    assert [epoch["epoch"] for epoch in reports[-1].history] == [1, 2, 3, 4]
    for one, two in zip(reports[-1].history, expected, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)


def test_evaluation_there_gives_the_metrics_of_here(cuda: torch.device):
    case = CASES["nodes"]
    model, data = case.fresh(), case.data()
    for exact in (True, False):
        expected = evaluate(model.to(CPU), data, "test", exact=exact)
        assert evaluate(model.to(cuda), data, "test", exact=exact) == pytest.approx(expected)


def test_a_step_that_fills_the_memory_names_the_batch_size(monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("gnn.model.GNN.forward", full)
    case = CASES["nodes"]
    with pytest.raises(DeviceMemoryError, match="batch size 16; lower --batch-size"):
        case.run("cpu")


def test_a_device_that_is_not_there_is_refused_before_anything_is_done(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    case = CASES["nodes"]
    for device, words in (("cuda", "finds no CUDA"), ("tpu", "choose auto, cpu")):
        with pytest.raises(InputError, match=words):
            case.run(device)


def test_half_precision_is_for_devices_that_have_it():
    assert autocast_dtype("float32", CPU) is None
    assert autocast_dtype("bfloat16", CPU) == torch.bfloat16
    assert autocast_dtype("float16", CUDA) == torch.float16
    with pytest.raises(InputError, match="'float16' and the device 'cpu'"):
        CASES["nodes"].run("cpu", precision="float16")
    with pytest.raises(InputError, match="choose one of float32, bfloat16, float16"):
        TrainConfig(precision="int8")  # type: ignore[arg-type]


@pytest.mark.parametrize("conv", ["sage", "gcn", "gat", "gatv2", "gin", "pna", "transformer"])
def test_mixed_precision_learns_and_leaves_losses_in_float32(conv: str, monkeypatch):
    seen = []
    step = Stepper.step

    def spy(self, loss, *args):
        seen.append(loss.dtype)
        return step(self, loss, *args)

    monkeypatch.setattr(Stepper, "step", spy)
    case = Case(nodes, {"conv": conv, "dropout": 0.0}, {"epochs": 15, "fanouts": None})
    model, mixed = case.run("cpu", precision="bfloat16")
    _, plain = case.run("cpu")
    assert set(seen) == {torch.float32}
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert model.precision is None
    assert mixed[0]["loss"] != plain[0]["loss"]
    assert mixed[-1]["loss"] < 0.9 * mixed[0]["loss"]
    assert mixed[-1]["loss"] == pytest.approx(plain[-1]["loss"], rel=0.5, abs=0.1)


def test_embeddings_of_mixed_precision_are_float32_and_the_dense_maps_are_not():
    model = CASES["nodes"].fresh().train()
    model.precision, kinds = torch.bfloat16, []
    model.convs[0].own.register_forward_hook(lambda *args: kinds.append(args[2].dtype))
    block = nodes().graph.block()
    assert model.encode([block, block], torch.randn(60, 5)).dtype == torch.float32
    assert model.eval().encode([block, block], torch.randn(60, 5)).dtype == torch.float32
    assert kinds == [torch.bfloat16, torch.float32]


def scaled_stepper(**changes: object) -> tuple[GNN, Stepper]:
    """A stepper that scales losses, as float16 has it, on the CPU."""
    case = CASES["nodes"]
    model = case.fresh()
    stepper = Stepper.of(model, case.settings("cpu", precision="float16", **changes))
    assert stepper.scaler is not None
    return model, stepper


def overflowing(model: GNN) -> torch.Tensor:
    """A finite loss whose gradient is not."""
    return (next(model.parameters()).double() * 0).sum().sqrt().float()


@pytest.mark.parametrize("max_grad_norm", [None, 1.0])
def test_a_step_that_overflows_is_left_out_and_the_scale_halved(max_grad_norm: float | None):
    model, stepper = scaled_stepper(max_grad_norm=max_grad_norm)
    before = {name: w.clone() for name, w in model.state_dict().items()}
    scale = stepper.scaler.get_scale()
    stepper.step(overflowing(model), 0, 0)
    assert stepper.scaler.get_scale() == scale / 2
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())
    weight = next(model.parameters())
    stepper.step(weight.square().sum(), 0, 1)
    assert not torch.equal(weight, next(iter(before.values())))
    assert torch.isfinite(weight).all()


def test_a_gradient_that_no_scale_helps_has_diverged():
    model, stepper = scaled_stepper()
    stepper.step(overflowing(model), 0, 0)
    stepper.scaler.update(1.5 * LEAST_SCALE)
    with pytest.raises(DivergedError, match="gradient is nan in epoch 2, batch 4"):
        stepper.step(overflowing(model), 1, 3)


def test_a_loss_that_is_no_number_is_none_with_a_scale_either():
    model, stepper = scaled_stepper()
    with pytest.raises(DivergedError, match="loss is nan in epoch 1, batch 1"):
        stepper.step(next(model.parameters()).sum() * torch.nan, 0, 0)


def test_of_several_processes_each_takes_its_accelerator(monkeypatch: pytest.MonkeyPatch):
    assert Ranks(0, 2).device("auto") == Ranks(1, 2).device("cpu") == CPU
    with pytest.raises(InputError, match="torch finds no CUDA device"):
        Ranks(1, 2).device("cuda")
    with pytest.raises(InputError, match=r"'cuda:1' in one of 2 processes"):
        Ranks(1, 2).device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")  # the third process of four, on a second machine of two
    for name in ("auto", "cuda"):
        assert Ranks(3, 4).device(name) == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="there are 2 here"):
        Ranks(2, 3).device("cuda")
