"""The convolutions equal DGL's with the same weights; the bridge carries Blocks over."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import dgl
import numpy as np
import pytest
import torch

from gnn.bridges.dgl import from_dgl, to_dgl_blocks
from gnn.conv.gcn import GCNConv
from gnn.conv.sage import SAGEConv
from gnn.errors import MissingPackageError
from sampling import Graph, NeighborSampler
from sampling.errors import InputError
from sampling.graph.csc import NodeType


@pytest.fixture
def peer(make_graph):
    graph = make_graph()
    dst = torch.repeat_interleave(torch.arange(60), graph.block().in_degrees())
    return dgl.graph((torch.from_numpy(graph.indices).long(), dst), num_nodes=60)


def rows(d: int) -> torch.Tensor:
    return torch.rand(60, d, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("d_in", "d_out"), [(9, 4), (4, 9)])
def test_sage_mean_equals_dgl(make_graph, peer, d_in, d_out):
    ours = SAGEConv(d_in, d_out, "mean")
    theirs = dgl.nn.SAGEConv(d_in, d_out, "mean")
    theirs.fc_self.load_state_dict(ours.own.state_dict())
    theirs.fc_neigh.load_state_dict(ours.neighbors.state_dict())
    torch.testing.assert_close(
        ours(make_graph().block(), rows(d_in)), theirs(peer, rows(d_in)), rtol=1e-5, atol=1e-5
    )


def test_sage_max_equals_dgl_pool_with_an_identity_before_it(make_graph, peer):
    ours, theirs = SAGEConv(5, 4, "max"), dgl.nn.SAGEConv(5, 4, "pool")
    theirs.fc_pool.load_state_dict({"weight": torch.eye(5), "bias": torch.zeros(5)})
    theirs.fc_self.load_state_dict(ours.own.state_dict())
    theirs.fc_neigh.load_state_dict(ours.neighbors.state_dict())
    torch.testing.assert_close(
        ours(make_graph().block(), rows(5)), theirs(peer, rows(5)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("d_in", "d_out"), [(9, 4), (4, 9)])
def test_sage_gcn_equals_dgl_with_self_edges_parallel_ones_and_none(d_in, d_out):
    ours, theirs = SAGEConv(d_in, d_out, "gcn"), dgl.nn.SAGEConv(d_in, d_out, "gcn")
    torch.nn.init.normal_(ours.neighbors.bias)
    weight, bias = (p.detach() for p in (ours.neighbors.weight, ours.neighbors.bias))
    theirs.load_state_dict({"fc_neigh.weight": weight, "bias": bias})
    src, dst = np.array([[1, 1, 2, 3, 4, 4, 0], [1, 0, 0, 0, 4, 4, 5]])
    graph = Graph.from_edges(src, dst, num_nodes=7)
    peer, x = dgl.graph((src, dst), num_nodes=7), rows(d_in)[:7]
    torch.testing.assert_close(ours(graph.block(), x), theirs(peer, x), rtol=1e-5, atol=1e-5)
    [block] = NeighborSampler(graph, [2], seed=1).sample([0, 4, 6])
    x = x[block.src_nodes]
    torch.testing.assert_close(
        ours(block, x), theirs(to_dgl_blocks([block])[0], x), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("d_in", "d_out"), [(9, 4), (4, 9)])
def test_gcn_equals_dgl_on_the_graph_with_self_loops(make_graph, peer, d_in, d_out):
    ours = GCNConv(d_in, d_out)
    theirs = dgl.nn.GraphConv(d_in, d_out, norm="none", weight=True, bias=True)
    theirs.load_state_dict({"weight": ours.linear.weight.detach().T, "bias": ours.bias.detach()})
    looped = dgl.add_self_loop(peer)
    root = looped.in_degrees().float().rsqrt()
    weight = root[looped.edges()[0]] * root[looped.edges()[1]]
    torch.testing.assert_close(
        ours(make_graph().block(), rows(d_in)),
        theirs(looped, rows(d_in), edge_weight=weight),
        rtol=1e-5,
        atol=1e-5,
    )


def test_gcn_equals_dgl_symmetric_norm_on_an_undirected_graph(make_graph, peer):
    ours, theirs = GCNConv(7, 3), dgl.nn.GraphConv(7, 3, norm="both")
    theirs.load_state_dict({"weight": ours.linear.weight.detach().T, "bias": ours.bias.detach()})
    both = dgl.to_bidirected(peer)
    torch.testing.assert_close(
        ours(from_dgl(both).block(), rows(7)),
        theirs(dgl.add_self_loop(both), rows(7)),
        rtol=1e-5,
        atol=1e-5,
    )


def test_dgl_blocks_carry_the_same_edges(make_graph):
    graph = make_graph()
    blocks = NeighborSampler(graph, [3, 2], seed=1).sample([4, 7, 4])
    for block, theirs in zip(blocks, to_dgl_blocks(blocks), strict=True):
        src, dst = theirs.edges(order="eid")
        assert torch.equal(src, block.indices.long())
        assert torch.equal(torch.bincount(dst, minlength=block.num_dst), block.in_degrees())
        assert torch.equal(theirs.srcdata[dgl.NID], block.src_nodes)
        assert torch.equal(theirs.dstdata[dgl.NID], block.dst_nodes)


def rich_graph() -> Graph:
    """Two node types, three edge types, and all else that edges can have."""
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, 60, (2, 240))
    return Graph.from_edges(
        src, dst, num_nodes=60, node_types=(NodeType("a", 0, 25), NodeType("b", 25, 60)),
        edge_type=rng.integers(0, 3, 240), edge_weight=rng.random(240),
        edge_time=rng.integers(0, 9, 240), edge_features=rng.random((240, 2)),
    )  # fmt: skip


def test_dgl_blocks_carry_what_edges_and_nodes_have():
    blocks = NeighborSampler(rich_graph(), [3, 2], seed=1).sample([4, 37])
    for block, theirs in zip(blocks, to_dgl_blocks(blocks), strict=True):
        assert theirs.edata.keys() == {"feat", "weight", "time", dgl.ETYPE}
        assert torch.equal(theirs.edata["feat"], block.edge_features)
        assert torch.equal(theirs.edata["weight"], block.edge_weight)
        assert torch.equal(theirs.edata["time"], block.edge_time)
        assert torch.equal(theirs.edata[dgl.ETYPE], block.edge_type.long())
        assert torch.equal(theirs.srcdata[dgl.NTYPE], (block.src_nodes >= 25).long())
        assert torch.equal(theirs.dstdata[dgl.NTYPE], (block.dst_nodes >= 25).long())


def test_a_typed_dgl_layer_reads_its_types_from_our_blocks():
    graph = rich_graph()
    [block] = NeighborSampler(graph, [3], seed=1).sample([4, 37])
    [theirs] = to_dgl_blocks([block])
    conv, x = dgl.nn.RelGraphConv(5, 4, 3), rows(5)[block.src_nodes]
    weights = theirs.edata["weight"][:, None]
    got = conv(theirs, x, theirs.edata[dgl.ETYPE], weights)
    dst = torch.repeat_interleave(torch.arange(block.num_dst), block.in_degrees())
    sent = torch.stack([
        w * (x[u] @ conv.linear_r.W[r])
        for w, u, r in zip(block.edge_weight, block.indices, block.edge_type.long(), strict=True)
    ])  # fmt: skip
    expected = (x[: block.num_dst] @ conv.loop_weight).index_add(0, dst, sent) + conv.h_bias
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_dgl_model_runs_on_our_blocks(make_graph):
    graph = make_graph()
    blocks = NeighborSampler(graph, [3], seed=1).sample([4, 7])
    conv = dgl.nn.SAGEConv(5, 2, "mean")
    x = rows(5)[blocks[0].src_nodes]
    ours = SAGEConv(5, 2)
    ours.own.load_state_dict(conv.fc_self.state_dict())
    ours.neighbors.load_state_dict(conv.fc_neigh.state_dict())
    torch.testing.assert_close(conv(to_dgl_blocks(blocks)[0], x), ours(blocks[0], x))


def test_a_dgl_graph_becomes_the_same_graph(make_graph, peer):
    graph, back = make_graph(), from_dgl(peer)
    assert (graph.indptr == back.indptr).all()
    assert (graph.indices == back.indices).all()


def test_what_dgl_cannot_take_is_refused(make_graph):
    with pytest.raises(InputError, match="starts at row 10"):
        to_dgl_blocks([make_graph().block(10, 20)])
    reduced = replace(make_graph().block(), received=torch.zeros(60, 2))
    with pytest.raises(InputError, match="was reduced while it was drawn"):
        to_dgl_blocks([reduced])
    hetero = dgl.heterograph({("a", "r", "b"): ([0], [0])})
    with pytest.raises(InputError, match="2 node types"):
        from_dgl(hetero)


def test_importing_the_room_loads_neither_dgl_nor_other_slow_packages():
    code = "import sys, gnn; print([m for m in ('dgl', 'sklearn', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_dgl_is_named_with_a_remedy(monkeypatch, make_graph):
    monkeypatch.setitem(sys.modules, "dgl", None)
    with pytest.raises(MissingPackageError, match=r"dgl.*install dgl==1.1.3"):
        to_dgl_blocks([make_graph().block()])
