"""What runs on an accelerator is what runs on the CPU: operations, models, and whole trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from elsewhere import CUDA, Elsewhere, pretended_cuda
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import EdgeList, edge_lists

from gnn import build_model
from gnn.aggregate import aggregate
from gnn.architecture import architecture_for
from gnn.attention import additive_attention, attention
from gnn.conv.protocol import Conv
from gnn.convs import CONVS
from gnn.device import chosen_device, naming_memory, plain_operations
from gnn.edges import edge_dots, picked
from gnn.errors import DeviceMemoryError
from gnn.inputs import with_inputs
from gnn.layerwise import infer
from gnn.model import GNN
from gnn.readout import READOUTS, build_readout
from gnn.recipes import Recipe, recipe_for
from gnn.transfer import Mover, moved
from sampling import Block, Dataset, Graph, NeighborSampler, NodeType
from sampling.errors import InputError

ATTENDING = ("gat", "gatv2", "hgt", "tgat", "transformer")
DROPPED = {"dropout": 0.4, "attention_dropout": 0.3}


def typed_data(edges: EdgeList) -> Dataset:
    """The edges with types, times, features and positions; labels of three classes."""
    rng, size, n = np.random.default_rng(2), len(edges.src), edges.num_nodes
    graph = Graph.from_edges(
        edges.src,
        edges.dst,
        num_nodes=n,
        edge_type=rng.integers(0, 3, size),
        edge_time=rng.permutation(size),
        edge_features=rng.normal(size=(size, 2)).astype(np.float32),
        edge_types=("r", "s", "t"),
        node_types=(NodeType("a", 0, n // 2), NodeType("b", n // 2, n)),
    )
    return Dataset.in_memory(
        graph,
        features=rng.normal(size=(n, 5)).astype(np.float32),
        positions=rng.normal(size=(n, 3)).astype(np.float32),
        labels=np.arange(n) % 3,
        classes=["x", "y", "z"],
    )


def some_edges(num_nodes: int = 30, num_edges: int = 150) -> EdgeList:
    src, dst = np.random.default_rng(0).integers(0, num_nodes - 2, (2, num_edges))
    return EdgeList(src, dst, num_nodes)


def model_of(conv: str, data: Dataset, **chosen) -> GNN:
    torch.manual_seed(0)
    recipe = recipe_for(conv, data, 2)
    recipe = Recipe({**recipe.model, "d_hidden": 8, "heads": 2}, recipe.train)
    return build_model(architecture_for("node-classification", data, recipe, chosen))


def assert_near(
    got: torch.Tensor | None, expected: torch.Tensor | None, tolerance: float = 1e-5
) -> None:
    assert (got is None) == (expected is None)
    if got is not None and expected is not None:
        room = tolerance * max(1.0, float(expected.abs().max()) if expected.numel() else 1.0)
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=room)


Leaves = Sequence[torch.Tensor]


def results(run: Callable[[], torch.Tensor], leaves: Leaves) -> list[torch.Tensor | None]:
    """What it gives, and the gradient of every leaf."""
    out = run()
    if not out.requires_grad:
        return [out]
    upstream = torch.linspace(-1, 1, out.numel()).view(out.shape)
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream, allow_unused=True)]


def assert_twins_agree(
    run: Callable[[], torch.Tensor], *leaves: torch.Tensor, tolerance: float = 1e-5
) -> None:
    """The compiled kernels and plain operations give the same rows and gradients."""
    expected = results(run, leaves)
    with plain_operations():
        got = results(run, leaves)
    for one, other in zip(got, expected, strict=True):
        assert_near(one, other, tolerance)


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


@settings(max_examples=15, deadline=None)
@given(edges=edge_lists(), seed=st.integers(0, 99), ties=st.booleans())
def test_plain_operations_reduce_edges_like_the_kernels(edges: EdgeList, seed: int, ties: bool):
    block = edges.graph().block()
    torch.manual_seed(seed)
    x, weight, node_weight = leaf(block.num_src, 4), leaf(block.num_edges), leaf(block.num_src)
    if ties:
        x = x.detach().round().requires_grad_()
    for reduce in ("sum", "mean", "max"):
        assert_twins_agree(lambda r=reduce: aggregate(block, x, r), x)
        assert_twins_agree(lambda r=reduce: aggregate(block, x, r, weight), x, weight)
    for reduce in ("sum", "mean"):
        assert_twins_agree(
            lambda r=reduce: aggregate(block, x, r, node_weight=node_weight), x, node_weight
        )


@settings(max_examples=15, deadline=None)
@given(edges=edge_lists(max_nodes=20, max_edges=80), seed=st.integers(0, 99))
def test_plain_operations_attend_like_the_kernels(edges: EdgeList, seed: int):
    block = edges.graph().block()
    torch.manual_seed(seed)
    n, size = block.num_src, block.num_edges
    x, y, logits, factors = leaf(n, 6), leaf(n, 6), leaf(size, 2), torch.rand(size, 2)
    one, other = leaf(n, 2), leaf(n, 2)
    assert_twins_agree(lambda: attention(block, x, logits, factors), x, logits)
    assert_twins_agree(lambda: additive_attention(block, x, one, other), x, one, other)
    assert_twins_agree(lambda: edge_dots(block, x, y, 2), x, y)
    assert_twins_agree(lambda: picked(x, block.indices.long()), x)


def test_a_maximum_does_not_hide_what_is_no_number():
    block = some_edges().graph().block()
    x = torch.randn(block.num_src, 2)
    x[block.indices[0], 0] = torch.nan
    with plain_operations():
        assert aggregate(block, x, "max").isnan().any()


def forward(conv: Conv, block: Block, x: torch.Tensor) -> torch.Tensor:
    return conv.combine(block, block.dst_rows(x), conv.messages(x, block.sources))


def room_for(conv: str, dtype: torch.dtype) -> float:
    """PNA's deviation, where it is near 0, enlarges rounding in its gradient."""
    if dtype == torch.float64:
        return 1e-10
    return 1e-4 if conv == "pna" else 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("conv", sorted(CONVS))
@settings(max_examples=4, deadline=None)
@given(edges=edge_lists(max_nodes=20, max_edges=80).filter(lambda edges: edges.num_nodes > 2))
def test_plain_operations_give_every_convolution_its_rows_and_gradients(
    conv: str, dtype: torch.dtype, edges: EdgeList
):
    data = typed_data(edges)
    model, block = model_of(conv, data).to(dtype), data.graph.block()
    for i in range(model.num_layers):
        x = leaf(block.num_src, model.active[i], dtype=dtype)
        needed = [p for p in model.convs[i].parameters() if p.requires_grad]
        run = partial(forward, model.conv(i), block, x)
        assert_twins_agree(run, x, *needed, tolerance=room_for(conv, dtype))


@pytest.mark.parametrize("readout", sorted(READOUTS))
def test_plain_operations_read_graphs_out_alike(readout: str):
    torch.manual_seed(0)
    x, offsets = leaf(9, 4), torch.tensor([0, 3, 3, 9])
    module = build_readout(readout, 4)
    assert_twins_agree(lambda: module(x, offsets), x, *module.parameters())


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    with pretended_cuda(monkeypatch) as device:
        yield device


def test_the_pretended_device_tells_its_tensors_from_those_of_the_cpu(cuda: torch.device):
    there = torch.ones(3).to(cuda)
    assert isinstance(there, Elsewhere)
    assert there.device == cuda
    assert torch.equal((there + there).cpu(), torch.full((3,), 2.0))
    with pytest.raises(RuntimeError, match="on cuda:0 and on cpu"):
        there + torch.ones(3)
    with pytest.raises(RuntimeError):
        there.numpy()


def one_step(model: GNN, data: Dataset, device: torch.device) -> tuple[float, dict]:
    """A step of training with dropout on a sampled batch, and the weights after it."""
    model.to(device)
    data = with_inputs(data, model.config)
    blocks = NeighborSampler(data.graph, [4, 3], seed=3).sample([5, 2, 9, 20])
    batch = blocks, data.features.gather(blocks[0].src_nodes), torch.tensor([0, 2, 1, 1])
    blocks, x, y = Mover(device)(batch)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.train()
    torch.manual_seed(4)
    loss = torch.nn.functional.cross_entropy(model(blocks, x), y)
    loss.backward()
    optimizer.step()
    weights = {name: w.cpu() for name, w in model.state_dict().items()}
    return loss.item(), weights


CHOSEN = [
    *({"conv": conv} for conv in sorted(CONVS)),
    {"conv": "sage", "aggregator": "max", "jumping": "cat"},
    {"conv": "sage", "aggregator": "gcn", "norm": "layer"},
    {"conv": "gcn", "encoder": "linear", "norm": "batch", "norm_first": True, "residual": True},
    {"conv": "gcn", "encoder": "mlp", "input_norm": "row", "head": "mlp", "norm": "layer"},
    {"conv": "gat", "residual": True, "jumping": "mean", "norm": "batch", "encoder": "linear"},
    {"conv": "sage", "input_norm": "column"},
]


@pytest.mark.parametrize("chosen", CHOSEN, ids=lambda chosen: "-".join(map(str, chosen.values())))
def test_a_step_there_mixes_no_devices_and_is_the_step_here(chosen: dict, cuda: torch.device):
    data = typed_data(some_edges())
    chosen = {**DROPPED, **chosen} if chosen["conv"] in ATTENDING else {"dropout": 0.4, **chosen}
    with plain_operations():
        expected = one_step(model_of(data=data, **chosen), data, torch.device("cpu"))
    got = one_step(model_of(data=data, **chosen), data, cuda)
    assert got[0] == expected[0]
    assert got[1].keys() == expected[1].keys()
    for name, weights in expected[1].items():
        assert torch.equal(got[1][name], weights), name


@pytest.mark.parametrize("conv", sorted(CONVS))
def test_whole_graphs_are_inferred_there_tile_by_tile(conv: str, cuda: torch.device, monkeypatch):
    data = typed_data(some_edges())
    model = model_of(conv, data)
    inputs = with_inputs(data, model.config)
    expected = infer(model, inputs)
    monkeypatch.setattr("gnn.layerwise.tile_rows_for", lambda _: 13)
    got = infer(model.to(cuda), inputs)
    assert not isinstance(got, Elsewhere)
    assert_near(got, expected)


def test_what_a_graph_shares_between_blocks_is_copied_once(cuda: torch.device):
    data = typed_data(some_edges())
    sampler, mover = NeighborSampler(data.graph, [4, 3], seed=3), Mover(cuda)
    first, second = mover((sampler.sample([1, 2]), sampler.sample([3])))
    assert first[0].graph_indptr is second[1].graph_indptr
    assert torch.equal(first[1].src_degrees().cpu(), sampler.sample([1, 2])[1].src_degrees())


def test_batches_for_the_cpu_are_not_copied():
    batches = [torch.ones(2), torch.ones(3)]
    assert all(a is b for a, b in zip(moved(batches, torch.device("cpu")), batches, strict=True))


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "CPU", ""])
def test_what_names_no_device_is_refused(name: str):
    with pytest.raises(InputError, match="choose auto, cpu, cuda"):
        chosen_device(name)


def test_a_device_that_is_not_there_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert chosen_device("auto") == torch.device("cpu")
    with pytest.raises(InputError, match=r"device is 'cuda:1', but torch finds no CUDA device"):
        chosen_device("cuda:1")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert chosen_device("auto") == CUDA
    with pytest.raises(InputError, match=r"'cuda:2', but there are 2 here"):
        chosen_device("cuda:2")


def test_a_full_memory_says_what_to_lower():
    named = pytest.raises(DeviceMemoryError, match=r"cuda:0 has too little .* batch size 512")
    with named, naming_memory(CUDA, 512):
        raise torch.OutOfMemoryError("CUDA out of memory")
