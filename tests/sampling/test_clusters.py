"""Promises of clusters and their batches: few edges cut, even sizes, every node once an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_lists

from gnn import ModelConfig, build_model
from sampling import ClusterLoader, Graph, cluster_nodes, edge_cut, induced_block
from sampling.errors import InputError

settings.register_profile("clusters", max_examples=50, deadline=None)
settings.load_profile("clusters")


def planted(num_groups: int, size: int, seed: int = 0) -> tuple[Graph, np.ndarray]:
    """A graph of hidden groups, about ten edges of a node within and five anywhere."""
    rng = np.random.default_rng(seed)
    nodes, names = num_groups * size, rng.permutation(num_groups * size)
    within = rng.integers(0, nodes, nodes * 5)
    partner = within // size * size + rng.integers(0, size, len(within))
    anywhere = rng.integers(0, nodes, (2, nodes * 5 // 2))
    a = names[np.concatenate([within, anywhere[0]])]
    b = names[np.concatenate([partner, anywhere[1]])]
    groups = np.empty(nodes, np.int64)
    groups[names] = np.arange(nodes) // size
    return Graph.from_edges(np.r_[a, b], np.r_[b, a], num_nodes=nodes), groups


@pytest.mark.parametrize(("num_groups", "size"), [(10, 100), (40, 200)])
def test_hidden_groups_are_found(num_groups, size):
    graph, groups = planted(num_groups, size)
    labels = cluster_nodes(graph, num_groups, seed=1)
    ours, hidden = edge_cut(graph, labels), edge_cut(graph, groups)
    random = edge_cut(graph, np.random.default_rng(0).permutation(labels))
    assert ours < hidden + 0.15 * (random - hidden)
    assert np.bincount(labels).max() <= np.ceil(1.1 * size)


def test_a_grid_is_cut_into_patches():
    side = 60
    place = np.arange(side * side).reshape(side, side)
    a = np.concatenate([place[:, :-1].ravel(), place[:-1].ravel()])
    b = np.concatenate([place[:, 1:].ravel(), place[1:].ravel()])
    graph = Graph.from_edges(np.r_[a, b], np.r_[b, a])
    labels = cluster_nodes(graph, 16)
    assert len(np.unique(labels)) == 16
    assert edge_cut(graph, labels) < 0.12  # 16 squares of 15 by 15 cut 0.05, chance 0.94


@given(edge_lists(), st.integers(1, 12), st.sampled_from([0.0, 0.1, 1.0]))
def test_no_cluster_is_larger_than_promised(edges, num_clusters, slack):
    num_clusters = min(num_clusters, edges.num_nodes)
    labels = cluster_nodes(edges.graph(), num_clusters, slack=slack)
    assert labels.shape == (edges.num_nodes,)
    assert labels.min() >= 0
    assert labels.max() < num_clusters
    assert np.bincount(labels).max() <= np.ceil((1 + slack) * edges.num_nodes / num_clusters)


def test_graph_and_seed_give_the_clusters():
    graph, _ = planted(10, 100)
    labels = cluster_nodes(graph, 10, seed=3)
    np.testing.assert_array_equal(labels, cluster_nodes(graph, 10, seed=3))
    assert (labels != cluster_nodes(graph, 10, seed=4)).any()


def test_the_cut_is_the_fraction_of_edges_between_labels():
    graph = Graph.from_edges([0, 1, 2, 2], [1, 0, 1, 2], num_nodes=3)
    assert edge_cut(graph, np.array([0, 0, 1])) == 0.25
    assert edge_cut(graph, np.array([0, 1, 2])) == 0.75
    assert edge_cut(Graph.from_edges([], [], num_nodes=2), np.array([0, 1])) == 0


def test_an_epoch_visits_every_node_once_and_cuts_what_it_says():
    graph, _ = planted(10, 100)
    labels = cluster_nodes(graph, 10)
    loader = ClusterLoader(graph, labels, num_layers=3, clusters_per_batch=3, seed=1)
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    assert sorted(torch.cat([b.nodes for b in batches]).tolist()) == list(range(1000))
    for batch in batches:
        members = np.flatnonzero(np.isin(labels, labels[batch.nodes]))
        assert batch.nodes.tolist() == members.tolist()
        expected = induced_block(graph, members)
        assert len(batch.blocks) == 3
        assert all(torch.equal(block.indices, expected.indices) for block in batch.blocks)


def test_epochs_mix_clusters_anew_and_the_seed_repeats_them():
    graph, _ = planted(10, 100)
    labels = cluster_nodes(graph, 10)
    one, other = (ClusterLoader(graph, labels, 1, 2, seed=1) for _ in range(2))
    first, second = ([b.nodes.tolist() for b in one] for _ in range(2))
    assert first == [b.nodes.tolist() for b in other]
    assert second == [b.nodes.tolist() for b in other]
    assert first != second


def test_all_clusters_in_one_batch_are_the_graph():
    graph, _ = planted(4, 50)
    x = torch.randn(200, 4)
    model = build_model(ModelConfig(conv="gcn", d_in=4, d_hidden=5, d_out=2, num_layers=2))
    [batch] = ClusterLoader(graph, cluster_nodes(graph, 4), 2, clusters_per_batch=4)
    torch.testing.assert_close(model(batch.blocks, x[batch.nodes]), model((graph.block(),) * 2, x))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g: cluster_nodes(g, 0), "from 1 to the 40 nodes"),
        (lambda g: cluster_nodes(g, 41), "num_clusters is 41"),
        (lambda g: cluster_nodes(g, 4, slack=-0.1), "slack is -0.1"),
        (lambda g: ClusterLoader(g, np.zeros(40, np.int64), 0), "num_layers is 0"),
        (lambda g: ClusterLoader(g, np.zeros(40, np.int64), 1, 0), "clusters_per_batch is 0"),
        (lambda g: ClusterLoader(g, np.zeros(39, np.int64), 1), "each of the 40 nodes"),
        (lambda g: ClusterLoader(g, np.full(40, -1), 1), "one cluster from 0"),
        (lambda g: edge_cut(g, np.zeros(39, np.int64)), "each of the 40 nodes"),
    ],
)
def test_bad_requests_get_one_sentence(call, words):
    with pytest.raises(InputError, match=words):
        call(planted(4, 10)[0])
