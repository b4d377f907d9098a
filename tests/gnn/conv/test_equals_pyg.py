"""GCN, GraphSAGE and LightGCN with PyG's weights; the other layers' tests lie with each."""

from __future__ import annotations

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
from torch.testing import assert_close

from gnn.conv.gcn import GCNConv
from gnn.conv.lightgcn import LightGCNConv
from gnn.conv.sage import SAGEConv

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize(("d_in", "d_out"), [(9, 4), (4, 9)])
def test_gcn_on_a_graph_without_self_edges(pyg, d_in, d_out):
    """PyG takes a self edge of the graph for the node's own, ours counts both."""
    ours, block = randomized(GCNConv(d_in, d_out)), without_self_edges(some_world()).block()
    theirs = pyg.GCNConv(d_in, d_out)
    theirs.load_state_dict({"lin.weight": ours.linear.weight, "bias": ours.bias})
    x = rows_for(30, d_in, torch.float32)
    assert_close(ours(block, x), theirs(x, edge_index(block)), **CLOSE)


@pytest.mark.parametrize("aggregator", ["mean", "sum", "max"])
@pytest.mark.parametrize(("d_in", "d_out"), [(9, 4), (4, 9)])
def test_sage(pyg, aggregator, d_in, d_out):
    ours, block = randomized(SAGEConv(d_in, d_out, aggregator)), some_world().block()
    theirs = pyg.SAGEConv(d_in, d_out, aggr=aggregator)
    theirs.load_state_dict({
        "lin_l.weight": ours.neighbors.weight,
        "lin_l.bias": ours.own.bias,
        "lin_r.weight": ours.own.weight,
    })  # fmt: skip
    x = rows_for(30, d_in, torch.float32)
    assert_close(ours(block, x), theirs(x, edge_index(block)), **CLOSE)


def test_lightgcn_where_every_source_has_in_edges(pyg):
    """A source without any sends nothing in PyG, and its row in ours."""
    ours, block, x = LightGCNConv(5), symmetric_block(), rows_for(30, 5, torch.float32)
    rows = ours.combine(block, x, ours.messages(x, block.sources))
    assert_close(rows, pyg.LGConv()(x, edge_index(block)), **CLOSE)
