"""One forward pass for samples, whole graphs and tiles."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn import ModelConfig, build_model
from gnn.dropout import dropout
from gnn.layerwise import infer
from sampling import FullNeighborSampler, Graph, NeighborSampler
from sampling.errors import InputError

KINDS = [("gcn", "mean"), *(("sage", how) for how in ("mean", "sum", "max", "gcn"))]
WIDTHS = [4, 12]
CASES = [(*kind, width) for kind, width in product(KINDS, WIDTHS)]


@pytest.mark.parametrize(("conv", "aggregator", "width"), CASES)
def test_full_fanout_equals_full_graph(make_data, make_model, conv, aggregator, width):
    data = make_data()
    model = make_model(conv=conv, aggregator=aggregator, d_hidden=width, num_layers=3)
    x = data.features.tensor()
    whole = model([data.graph.block()] * 3, x)
    seeds = torch.tensor([5, 59, 0, 5, 31])
    blocks = FullNeighborSampler(data.graph, 3).sample(seeds)
    torch.testing.assert_close(model(blocks, x[blocks[0].src_nodes]), whole[seeds])


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("added", ["residual", "residual_map"])
@pytest.mark.parametrize("input_norm", ["none", "row", "column"])
@pytest.mark.parametrize(("conv", "aggregator", "width"), CASES)
def test_layer_by_layer_equals_full_forward(
    make_data, make_model, conv, aggregator, width, input_norm, added, norm_first
):
    data = make_data()
    model = make_model(
        conv=conv, aggregator=aggregator, d_hidden=width, num_layers=3, input_norm=input_norm,
        head="linear", norm="batch", norm_first=norm_first, **{added: True},
    )  # fmt: skip
    whole = model.encode([data.graph.block()] * 3, data.features.tensor())
    torch.testing.assert_close(infer(model, data), whole, rtol=1e-5, atol=1e-5)


def test_a_map_of_the_input_is_added_after_the_nonlinearity(make_data, make_model):
    data = make_data()
    block, x = data.graph.block(), data.features.tensor()
    model = make_model(conv="gcn", residual_map=True)
    expected = model.conv(0).forward(block, x).relu() + x @ model.residual_maps[0].weight.t()
    torch.testing.assert_close(model.layer(0, block, x), expected)


def test_a_norm_that_comes_first_leaves_what_is_added_as_it_is(make_data, make_model):
    data = make_data()
    block, x = data.graph.block(), data.features.tensor()
    options = {"d_hidden": 6, "norm": "layer", "residual": True, "head": "linear"}
    model = make_model(conv="gcn", encoder="linear", num_layers=2, norm_first=True, **options)
    with torch.no_grad():
        model.norms[0].weight.uniform_(0.5, 2.0)
        h = model.prepare(x, block.sources)
        first = h + model.conv(0).forward(block, model.norms[0](h)).relu()
        last = first + model.conv(1).forward(block, model.norms[1](first)).relu()
        torch.testing.assert_close(model.encode([block] * 2, x), last)
    options["head"] = "none"
    raw = make_model(conv="gcn", encoder="none", num_layers=2, norm_first=True, **options)
    assert isinstance(raw.norms[0], torch.nn.Identity), "features are not normalized"
    rows = raw.conv(0).forward(block, x).relu() + x
    torch.testing.assert_close(raw.layer(0, block, x), rows)
    outputs = raw.conv(1).forward(block, raw.norms[1](rows))
    torch.testing.assert_close(raw.encode([block] * 2, x), outputs)


@pytest.mark.parametrize("head", ["none", "linear"])
def test_a_decoder_reads_the_rows_of_the_last_convolution(make_data, make_model, head):
    data = make_data()
    options = {"norm": "layer", "norm_first": True, "residual": True, "encoder": "linear"}
    model = make_model(decoder="dot", head=head, **options)
    blocks, x = [data.graph.block()] * 2, data.features.tensor()
    first = model.layer(0, blocks[0], model.prepare(x, blocks[0].sources))
    last = model.conv(1).forward(blocks[0], model.norms[1](first))
    torch.testing.assert_close(model.encode(blocks, x), last)


@pytest.mark.parametrize("conv", ["appnp", "hgt", "sgc", "tgat"])
def test_norms_that_come_first_leave_layers_alone_that_take_none(make_model, conv):
    model = make_model(conv=conv, encoder="linear", norm="layer", norm_first=True)
    assert all(isinstance(norm, torch.nn.Identity) for norm in model.norms)


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_batch_of_one_row_is_normalized_by_the_running_statistics(make_model, norm_first):
    model = make_model(norm="batch", norm_first=norm_first, encoder="linear", dropout=0.0)
    for norm in model.norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    before = [norm.running_mean.clone() for norm in model.norms]
    blocks, x = [Graph.from_edges([], [], num_nodes=1).block()] * 2, torch.ones(1, 6)
    expected = model(blocks, x)
    model.train()
    torch.testing.assert_close(model(blocks, x), expected)
    assert all(torch.equal(a, n.running_mean) for a, n in zip(before, model.norms, strict=True))


@pytest.mark.parametrize("norm", ["none", "graph"])
def test_a_norm_that_comes_first_is_of_rows_or_batches(norm):
    with pytest.raises(InputError, match="norm_first is for the norms layer and batch"):
        ModelConfig(d_in=3, d_hidden=4, d_out=2, norm=norm, norm_first=True, readout="sum")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
def test_renumbering_nodes_and_reordering_edges_renumbers_the_answer(seed, kind):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    src, dst = rng.integers(0, n, (2, int(rng.integers(0, 40))))
    x = torch.from_numpy(rng.normal(size=(n, 5)).astype(np.float32))
    torch.manual_seed(0)
    model = build_model(ModelConfig(conv=kind[0], aggregator=kind[1], d_in=5, d_hidden=3, d_out=2))
    place, order = rng.permutation(n), rng.permutation(len(src))
    one = Graph.from_edges(src, dst, num_nodes=n).block()
    other = Graph.from_edges(place[src][order], place[dst][order], num_nodes=n).block()
    moved = torch.empty_like(x)
    moved[place] = x
    torch.testing.assert_close(
        model([other] * 2, moved)[place], model([one] * 2, x), rtol=1e-5, atol=1e-5
    )


def test_gcn_on_samples_estimates_gcn_on_the_graph(make_graph, make_model):
    graph = make_graph(num_edges=900)
    model = make_model(conv="gcn", num_layers=1, d_out=2)
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))
    exact, sampler = model([graph.block()], x), NeighborSampler(graph, [4])
    with torch.no_grad():
        draws = torch.stack([
            model(blocks, x[blocks[0].src_nodes])
            for blocks in (sampler.sample(torch.arange(60), seed=s) for s in range(300))
        ])  # fmt: skip
    error = (draws.mean(0) - exact).abs()
    assert (error <= 5 * draws.std(0) / 300**0.5 + 1e-5).all()


def test_gcn_with_a_self_loop_in_the_graph_counts_it_beside_its_own():
    graph = Graph.from_edges([0, 1], [0, 0], num_nodes=2)
    torch.manual_seed(0)
    model = build_model(
        ModelConfig(conv="gcn", d_in=2, d_hidden=2, d_out=2, num_layers=1, head="none")
    )
    with torch.no_grad():
        model.convs[0].linear.weight.copy_(torch.eye(2))
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    got = model([graph.block()], x)[0]
    torch.testing.assert_close(got, torch.tensor([2 / 3, 1 / 3**0.5]))


def test_the_head_gives_what_forward_gives(make_data, make_model):
    data = make_data()
    blocks = [data.graph.block()] * 2
    for head, width in (("none", 3), ("linear", 8)):
        model = make_model(head=head)
        h = model.encode(blocks, data.features.tensor())
        assert h.shape == (60, width) == (60, model.d_embedding)
        assert torch.equal(model.head(h), model(blocks, data.features.tensor()))


def test_the_same_seed_gives_the_same_weights(make_model):
    one, same, other = (make_model(seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)


def test_row_norm_makes_the_scale_of_a_row_irrelevant(make_data, make_model):
    data, model = make_data(), make_model(input_norm="row")
    blocks, x = [data.graph.block()] * 2, data.features.tensor()
    scaled = x * torch.rand(60, 1, generator=torch.Generator().manual_seed(0)).add(0.1)
    torch.testing.assert_close(model(blocks, x), model(blocks, scaled), rtol=1e-5, atol=1e-5)
    assert torch.isfinite(model(blocks, torch.zeros_like(x))).all()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.6])
def test_dropout_keeps_its_share_and_the_mean(p):
    torch.manual_seed(0)
    out = dropout(torch.ones(501, 333), p)
    n = out.numel()
    spread = (p * (1 - p) / n) ** 0.5
    assert abs((out == 0).float().mean().item() - p) < 5 * spread + 2**-16
    torch.testing.assert_close(out[out > 0], torch.full_like(out[out > 0], 1 / (1 - p)))
    columns = (out == 0).float().mean(0)
    assert (columns - p).abs().max() < 6 * (p * (1 - p) / 501) ** 0.5
    assert dropout(out, 0.0) is out


def test_what_does_not_fit_the_model_is_refused_with_what_was_got(make_data, make_model):
    data, model = make_data(), make_model()
    block, x = data.graph.block(), data.features.tensor()
    with pytest.raises(InputError, match="got 1 blocks; this model has 2 layers"):
        model([block], x)
    with pytest.raises(InputError, match=r"\(60, 5\); this model takes \(60, 6\)"):
        model([block] * 2, x[:, :5])
    with pytest.raises(InputError, match=r"\(59, 6\)"):
        model([block] * 2, x[1:])
    blocks = FullNeighborSampler(data.graph, 2).sample([0, 1])
    with pytest.raises(InputError, match="block 1 has"):
        model([block, blocks[1]], x)


@pytest.mark.parametrize(
    "wrong",
    [
        {"conv": "chebnet"}, {"aggregator": "median"}, {"head": "tree"}, {"norm": "x"}, {"d_in": 0},
        {"d_hidden": 2**40}, {"num_layers": 0}, {"num_layers": 10**9}, {"dropout": 1.0},
        {"dropout": float("nan")}, {"input_norm": "l2"}, {"d_out": 1.5},
    ],
)  # fmt: skip
def test_an_architecture_that_cannot_be_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        ModelConfig(**{"d_in": 2, "d_hidden": 2, "d_out": 2, **wrong})


def test_the_gradient_of_dropout_is_its_mask():
    torch.manual_seed(0)
    x = torch.randn(700, 500, requires_grad=True)
    out = dropout(x, 0.3)
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(grad * x, out)


@pytest.mark.parametrize("conv", ["gat", "gatv2"])
def test_output_heads_are_averaged_where_the_last_convolution_gives_the_outputs(make_model, conv):
    several = make_model(conv=conv, heads=4, out_heads=3, head="none").conv(1)
    assert (several.heads, several.concat, several.d_out) == (3, False, 3)
    side_by_side = make_model(conv=conv, heads=4, out_heads=3, head="linear").conv(1)
    assert (side_by_side.heads, side_by_side.concat) == (4, True)
