"""The convolutions that DGL has too, with the same weights; GraphSAGE, GCN and EGNN lie elsewhere.

Where DGL defines a layer otherwise, the test says exactly how, and is equal but for that.
"""

from __future__ import annotations

import dgl
import pytest
import torch
from conv_checks import (
    edge_index,
    randomized,
    rows_for,
    some_world,
    symmetric_block,
    without_self_edges,
)
from torch import Tensor, nn
from torch.testing import assert_close

from gnn.conv.appnp import APPNPConv
from gnn.conv.gat import GATConv
from gnn.conv.gatv2 import GATv2Conv
from gnn.conv.gin import GINConv
from gnn.conv.gine import GINEConv
from gnn.conv.hgt import HGTConv
from gnn.conv.lightgcn import LightGCNConv
from gnn.conv.pna import AGGREGATORS, SCALERS, PNAConv
from gnn.conv.rgcn import RGCNConv
from gnn.conv.sgc import SGCConv
from gnn.edges import destinations
from sampling import Block

HEADS = [(1, True), (3, True), (2, False)]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def dgl_graph(block: Block) -> dgl.DGLGraph:
    return dgl.graph(tuple(edge_index(block)), num_nodes=block.num_src)


def heads_of(rows: Tensor, concat: bool) -> Tensor:
    return rows.flatten(1) if concat else rows.mean(1)


@pytest.mark.parametrize(("heads", "concat"), HEADS)
def test_gat_where_every_node_has_one_self_edge(heads, concat):
    ours = randomized(GATConv(5, 6, heads=heads, concat=concat))
    block, x = without_self_edges(some_world()).block(), rows_for(30, 5, torch.float32)
    theirs = dgl.nn.GATConv(5, 6 // heads if concat else 6, heads, bias=False)
    theirs.load_state_dict({
        "fc.weight": ours.linear.weight,
        "attn_l": ours.src_attention[None],
        "attn_r": ours.dst_attention[None],
    })  # fmt: skip
    expected = heads_of(theirs(dgl.add_self_loop(dgl_graph(block)), x), concat)
    assert_close(ours(block, x), expected + ours.bias, **CLOSE)


@pytest.mark.parametrize(("heads", "concat"), HEADS)
def test_gatv2_where_every_node_has_one_self_edge(heads, concat):
    """DGL adds no bias to what comes out."""
    ours = randomized(GATv2Conv(5, 6, heads=heads, concat=concat))
    block, x = without_self_edges(some_world()).block(), rows_for(30, 5, torch.float32)
    theirs = dgl.nn.GATv2Conv(5, 6 // heads if concat else 6, heads)
    theirs.fc_src.load_state_dict(ours.source.state_dict())
    theirs.fc_dst.load_state_dict(ours.destination.state_dict())
    theirs.attn.data.copy_(ours.attention.detach()[None])
    expected = heads_of(theirs(dgl.add_self_loop(dgl_graph(block)), x), concat)
    assert_close(ours(block, x), expected + ours.bias, **CLOSE)


def perceptron(conv: GINConv | GINEConv) -> nn.Module:
    return nn.Sequential(conv.mlp.first, nn.ReLU(), conv.mlp.last)


def test_gin():
    ours = randomized(GINConv(5, 6, train_eps=True, d_mlp=7, norm="none"))
    block, x = some_world().block(), rows_for(30, 5, torch.float32)
    theirs = dgl.nn.GINConv(perceptron(ours), "sum", init_eps=float(ours.eps.detach()))
    assert_close(ours(block, x), theirs(dgl_graph(block), x), **CLOSE)


def test_gine_of_edge_features_that_were_mapped_before():
    """DGL wants edge features as wide as the rows, and has no map of them."""
    ours = randomized(GINEConv(5, 6, 3, train_eps=True, d_mlp=7, norm="none"))
    block, x = some_world(d_edge=3).block(), rows_for(30, 5, torch.float32)
    theirs = dgl.nn.GINEConv(perceptron(ours), init_eps=float(ours.eps.detach()))
    mapped = ours.edge_encoder(block.edge_features)
    assert_close(ours(block, x), theirs(dgl_graph(block), x, mapped), **CLOSE)


def test_pna_is_one_tower_before_its_norms_and_its_mixing():
    """DGL divides a tower's rows by the root of the number of nodes, then come a batch norm, and a
    linear map with a leaky ReLU over all towers. Its deviation of equal messages is what rounding
    leaves of 0, where ours is 0, hence float64.
    """
    block, x = some_world().block(), rows_for(30, 5)
    ours = randomized(PNAConv(5, 6, 1.3, AGGREGATORS, SCALERS)).double()
    [tower] = dgl.nn.PNAConv(5, 6, list(AGGREGATORS), list(SCALERS), 1.3).double().towers
    tower.batchnorm = nn.Identity()
    tower.M.weight.data = torch.cat([ours.neighbors.weight, ours.own.weight], dim=1).detach()
    tower.M.bias.data = ours.own.bias.detach()
    tower.U.load_state_dict(ours.update.state_dict())
    assert_close(ours(block, x) / 30**0.5, tower(dgl_graph(block), x), **CLOSE)


@pytest.mark.parametrize("num_bases", [None, 2])
def test_rgcn_where_edges_are_weighed_to_a_mean(num_bases):
    """DGL sums over the edges of a relation; the paper's 1 / c is given to it as `norm`."""
    ours = randomized(RGCNConv(5, 6, 4, num_bases))
    block, x = some_world(num_relations=4).block(), rows_for(30, 5, torch.float32)
    kinds = block.edge_type.long()
    _, group, counts = torch.unique(
        4 * destinations(block) + kinds, return_inverse=True, return_counts=True
    )
    regularizer = None if num_bases is None else "basis"
    theirs = dgl.nn.RelGraphConv(5, 6, 4, regularizer, num_bases)
    weights = {"linear_r.W": ours.weight, "h_bias": ours.own.bias, "loop_weight": ours.own.weight.T}
    theirs.load_state_dict(weights | ({"linear_r.coeff": ours.coefficients} if num_bases else {}))
    norm = (1 / counts[group])[:, None]
    assert_close(ours(block, x), theirs(dgl_graph(block), x, kinds, norm), **CLOSE)


class AfterGelu(nn.Module):
    """DGL's typed map, of rows that went through a GELU first."""

    def __init__(self, typed: nn.Module) -> None:
        super().__init__()
        self.typed = typed

    def forward(self, x: Tensor, *types: Tensor) -> Tensor:
        return self.typed(nn.functional.gelu(x), *types)


@pytest.mark.parametrize("normalizes", [False, True])
def test_hgt_where_a_gelu_precedes_the_last_map(normalizes):
    """DGL leaves out the paper's nonlinearity before the last map, and all biases; where widths
    differ it has a residual map, and ours, as PyG's and the paper's, has no residual.
    """
    heads, types, relations = 3, 2, 4
    ours = randomized(HGTConv(6, 6, types, relations, heads, normalizes=normalizes))
    theirs = dgl.nn.HGTConv(6, 2, heads, types, relations, use_norm=normalizes).eval()
    pairs = {"k": ours.key, "q": ours.query, "v": ours.value, "a": ours.update}
    with torch.no_grad():
        for name, linear in pairs.items():
            linear.bias.zero_()
            getattr(theirs, f"linear_{name}").W.copy_(linear.weight)
        for i in range(heads):
            theirs.relation_att[i].W.copy_(ours.relation_key[:, i])
            theirs.relation_msg[i].W.copy_(ours.relation_value[:, i])
            theirs.relation_pri[i].copy_(ours.prior[:, i])
        theirs.skip.copy_(ours.gate)
    if normalizes:
        theirs.norm.load_state_dict(ours.norm.state_dict())
    theirs.linear_a = AfterGelu(theirs.linear_a)
    block = some_world(num_relations=relations, num_types=types).block()
    x = rows_for(30, 6, torch.float32)
    expected = theirs(dgl_graph(block), x, block.sources.types(), block.edge_type.long())
    assert_close(ours(block, x), expected, **CLOSE)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_appnp_on_a_symmetric_graph(steps):
    """DGL normalizes by the out-degree of sources, ours by in-degrees alone: one where edges run
    both ways. Self edges are added for DGL.
    """
    block, rows = symmetric_block(), rows_for(30, 4, torch.float32)
    expected = dgl.nn.APPNPConv(steps, 0.2)(dgl.add_self_loop(dgl_graph(block)), rows)
    for k in range(steps):
        rows = APPNPConv(4, 0.2, first=k == 0, last=k == steps - 1)(block, rows)
    assert_close(rows, expected, **CLOSE)


def test_three_layers_of_sgc_on_a_graph_with_self_edges_added():
    """DGL ends in a linear map, which is the head of a model here."""
    block, x = some_world().block(), rows_for(30, 5, torch.float32)
    theirs = dgl.nn.SGConv(5, 5, k=3, bias=False)
    theirs.fc.load_state_dict({"weight": torch.eye(5)})
    rows = x
    for _ in range(3):
        rows = SGCConv(5)(block, rows)
    assert_close(rows, theirs(dgl.add_self_loop(dgl_graph(block)), x), **CLOSE)


def test_lightgcn_is_graph_conv_without_weights_on_a_symmetric_graph():
    """As for APPNP: DGL normalizes sources by their out-degrees."""
    ours, block, x = LightGCNConv(5), symmetric_block(), rows_for(30, 5, torch.float32)
    theirs = dgl.nn.GraphConv(
        5, 5, norm="both", weight=False, bias=False, allow_zero_in_degree=True
    )
    rows = ours.combine(block, x, ours.messages(x, block.sources))
    assert_close(rows, theirs(dgl_graph(block), x), **CLOSE)
