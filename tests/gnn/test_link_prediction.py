"""Links: parts that do not leak, decoders, and models that learn to tell edges from others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn import GNN, ModelConfig, TrainConfig, build_model, evaluate, load_model, save_model, train
from gnn.decoders import make_decoder
from gnn.errors import TrainingError
from gnn.evaluate import evaluate_parts
from gnn.inputs import with_inputs
from gnn.layerwise import infer
from gnn.link_evaluate import _all_ranks as all_ranks
from gnn.link_evaluate import drawn_negatives, protocol_of, score_links
from gnn.link_losses import candidate_loss, pair_loss, rows_for
from gnn.link_split import is_symmetric, split_links
from gnn.model_config import InputType
from gnn.sessions import link as link_session
from gnn.sessions import link_whole
from gnn.sessions.link_whole import penalty_of
from gnn.sessions.whole import WholeGraph
from sampling import Dataset, Graph, NodeType
from sampling.errors import InputError
from sampling.graph.linksets import LinkSet

N = 40
CONFIG = TrainConfig(
    task="link-prediction", epochs=15, batch_size=64, lr=0.02, weight_decay=0.0, seed=3,
    split=(0.8, 0.1, 0.1), num_threads=1,
)  # fmt: skip


def communities(seed: int = 0, **changes: object) -> Dataset:
    """An undirected graph of four groups: edges inside them alone."""
    rng = np.random.default_rng(seed)
    src, dst = rng.integers(0, N, (2, 1600))
    inside = (src % 4 == dst % 4) & (src < dst)
    pairs = np.unique(np.stack([src[inside], dst[inside]]), axis=1)
    both = np.concatenate([pairs, pairs[::-1]], axis=1)
    return Dataset.in_memory(Graph.from_edges(*both, num_nodes=N), **changes)  # type: ignore[arg-type]


def triples(inverse: bool) -> Dataset:
    """near: inside four groups; next: from a group to the next; one in ten held out."""
    rng = np.random.default_rng(1)
    src, dst = np.divmod(rng.choice(N * N, N * N // 2, replace=False), N)
    step = (dst - src) % 4
    src, dst, types = src[step < 2], dst[step < 2], step[step < 2]
    held = rng.permutation(len(src))[: len(src) // 10]
    kept = np.setdiff1d(np.arange(len(src)), held)
    edges = [src[kept], dst[kept], types[kept]]
    names = ("near", "next") if not inverse else ("near", "next", "rev_near", "rev_next")
    code = np.array([names.index("near"), names.index("next")])
    edges[2] = code[edges[2]]
    if inverse:
        back = np.array([2, 3, 0, 1])[edges[2]]
        edges = [np.concatenate(p) for p in
                 ((edges[0], edges[1]), (edges[1], edges[0]), (edges[2], back))]  # fmt: skip
    graph = Graph.from_edges(edges[0], edges[1], num_nodes=N, edge_type=edges[2], edge_types=names)
    links = LinkSet.of(
        np.stack([src[held], dst[held]], 1), 2 + np.arange(len(held)) % 2, None, code[types[held]]
    )
    return Dataset.in_memory(graph, links=links)


def ratings(seed: int = 0) -> Dataset:
    """Users 0 … 19 who choose items of their group, one item of each held out."""
    rng = np.random.default_rng(seed)
    pairs = [(u, 20 + i) for u in range(20) for i in range(20) if u % 4 == i % 4]
    order = rng.permutation(len(pairs))
    rows = np.array(pairs)[order]
    graph = Graph.from_edges(
        np.concatenate([rows[20:, 0], rows[20:, 1]]), np.concatenate([rows[20:, 1], rows[20:, 0]]),
        num_nodes=N, node_types=(NodeType("user", 0, 20), NodeType("item", 20, 40)),
    )  # fmt: skip
    return Dataset.in_memory(graph, links=LinkSet.of(rows[:20], [2] * 10 + [3] * 10))


def model_for(data: Dataset, **changes: object) -> GNN:
    types = tuple(
        InputType(name=t.name, start=t.start, end=t.end, d_in=0) for t in data.graph.node_types
    )
    torch.manual_seed(0)
    given = {
        "d_in": 0, "d_hidden": 16, "d_out": 1, "num_layers": 2, "encoder": "typed",
        "input_types": types, "decoder": "dot", "head": "none", "dropout": 0.0,
        "num_relations": len(data.graph.edge_types),
    }  # fmt: skip
    return build_model(ModelConfig(**given | changes))  # type: ignore[arg-type]


def keys(src: np.ndarray, dst: np.ndarray) -> set[tuple[int, int]]:
    return set(zip(src.tolist(), dst.tolist(), strict=True))


def messages(graph: Graph) -> set[tuple[int, int]]:
    return keys(graph.indices, np.repeat(np.arange(graph.num_nodes), graph.in_degrees()))


@pytest.mark.parametrize("seed", [0, 1])
def test_an_undirected_edge_that_is_predicted_is_no_message_in_either_direction(seed: int):
    data = communities()
    parts = split_links(data, (0.8, 0.1, 0.1), seed)
    left = messages(parts.data.graph)
    for name in ("val", "test"):
        links = parts.part(name)
        assert len(links)
        assert not left & keys(links.src, links.dst)
        assert not left & keys(links.dst, links.src)
    everything = [parts.part(p) for p in ("train", "val", "test")]
    found = {tuple(sorted(k)) for p in everything for k in keys(p.src, p.dst)}
    assert found == {tuple(sorted(k)) for k in messages(data.graph)}
    assert sum(map(len, everything)) * 2 == data.graph.num_edges
    assert is_symmetric(parts.data.graph)


def test_the_same_seed_gives_the_same_parts():
    one, again, other = (split_links(communities(), (0.8, 0.1, 0.1), s).test for s in (0, 0, 1))
    assert keys(one.src, one.dst) == keys(again.src, again.dst)
    assert keys(one.src, one.dst) != keys(other.src, other.dst)


def test_edges_with_times_are_split_by_time():
    rng = np.random.default_rng(0)
    pairs = rng.choice(N * N, 300, replace=False)
    src, dst, time = pairs // N, pairs % N, rng.permutation(300)
    data = Dataset.in_memory(Graph.from_edges(src, dst, num_nodes=N, edge_time=time))
    parts = split_links(data, (0.8, 0.1, 0.1), 0)
    times = parts.data.graph.edge_time
    assert times is not None
    assert sorted(times.tolist()) == list(range(240))
    at = {(s, d): t for s, d, t in zip(src.tolist(), dst.tolist(), time.tolist(), strict=True)}
    assert sorted(at[k] for k in keys(parts.val.src, parts.val.dst)) == list(range(240, 270))
    assert sorted(at[k] for k in keys(parts.test.src, parts.test.dst)) == list(range(270, 300))


def test_held_out_triples_leave_with_their_inverse():
    data = triples(inverse=True)
    own = split_links(replace(data, links=None), (0.8, 0.1, 0.1), 0)
    graph = own.data.graph
    rows = np.repeat(np.arange(N), graph.in_degrees())
    left = set(zip(graph.indices.tolist(), rows.tolist(), graph.edge_type.tolist(), strict=True))
    assert len(own.test)
    for src, dst, code in zip(own.test.src, own.test.dst, own.test.types, strict=True):
        assert (src, dst, code) not in left
        assert (dst, src, own.inverse[code]) not in left
    assert own.train.types is not None
    assert {graph.edge_types[t] for t in own.train.types} == {"near", "next"}


def test_a_graph_without_edges_or_a_train_share_is_refused():
    empty = Dataset.in_memory(Graph.from_edges([], [], num_nodes=3))
    with pytest.raises(TrainingError, match="no edges"):
        split_links(empty)
    with pytest.raises(TrainingError, match="leaves no edge to train on"):
        split_links(communities(), (0.0, 0.5, 0.5))


def test_the_graph_says_how_it_is_measured():
    assert protocol_of(split_links(communities())) == "pairs"
    assert protocol_of(split_links(triples(inverse=True))) == "knowledge"
    assert protocol_of(split_links(ratings())) == "recommendation"


def test_where_edges_have_times_what_is_true_at_another_time_is_a_wrong_answer():
    """0 → 1 at time 1 is asked for; 0 → 2 at the same time is left out, 0 → 3 at time 0 is not."""
    src, dst = np.array([0, 0, 1]), np.array([3, 4, 0])
    graph = Graph.from_edges(
        src, dst, num_nodes=5, edge_type=np.array([0, 0, 1]), edge_types=("a", "b"),
        edge_time=np.array([0, 0, 0]),
    )  # fmt: skip
    links = LinkSet.of([[0, 1], [0, 2]], [3, 3], None, [0, 0], [1, 1])
    timed, ranks = Dataset.in_memory(graph, links=links), []
    for data in (timed, Dataset.in_memory(replace(graph, edge_time=None), links=links)):
        model = model_for(data, conv="identity", num_layers=1, decoder="distmult")
        with torch.no_grad():
            for rows in model.encoder.parameters():
                rows.copy_(torch.tensor([1.0, 2.0, 4.0, 3.0, 0.5])[:, None].expand(5, 16))
            model.decoder.relations.weight.fill_(1.0)
        parts = split_links(data)
        with torch.no_grad():
            h = infer(model, with_inputs(data, model.config))
            ranks.append(torch.cat(list(all_ranks(model, h, parts, parts.test.take([0])))).tolist())
    assert ranks == [[2.0, 4.0], [1.0, 4.0]]


def test_an_edge_at_several_times_is_learned_at_each():
    graph = Graph.from_edges(
        np.array([0, 0, 0]), np.array([1, 1, 1]), num_nodes=2, edge_time=np.array([3, 4, 4])
    )
    data = Dataset.in_memory(graph, links=LinkSet.of([[0, 1]], [3], times=[5]))
    assert split_links(data).train.times.tolist() == [3, 4]


def test_drawn_negatives_are_no_edges_of_any_part():
    parts = split_links(communities())
    drawn = drawn_negatives(parts, parts.test)
    known = messages(communities().graph)
    assert len(drawn) == len(parts.test)
    assert not known & keys(drawn.src, drawn.dst)


@pytest.mark.parametrize("decoder", ["dot", "distmult", "bilinear", "mlp", "hadamard"])
@pytest.mark.parametrize("reverse", [False, True])
def test_scores_against_candidates_are_scores_of_pairs(decoder: str, reverse: bool):
    torch.manual_seed(0)
    config = ModelConfig(d_in=1, d_hidden=5, d_out=1, num_relations=3, decoder=decoder)
    module = make_decoder(config, 5).eval()
    h, nodes, relations = torch.randn(4, 5), torch.randn(6, 5), torch.tensor([0, 2, 1, 2])
    found = module.against(h, nodes, relations, reverse=reverse)
    for i in range(4):
        own, code = h[i].expand(6, -1), relations[i].expand(6)
        ends = (nodes, own) if reverse else (own, nodes)
        torch.testing.assert_close(found[i], module.pairs(*ends, code), atol=1e-5, rtol=1e-5)


def test_distmult_and_bilinear_are_their_formulas():
    torch.manual_seed(0)
    h, other, code = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([1, 0, 1])
    config = ModelConfig(d_in=1, d_hidden=4, d_out=1, num_relations=2, decoder="distmult")
    distmult = make_decoder(config, 4)
    r = distmult.relations.weight[code]
    torch.testing.assert_close(distmult.pairs(h, other, code), (h * r * other).sum(1))
    bilinear = make_decoder(replace(config, decoder="bilinear"), 4)
    expected = torch.einsum("ni,nij,nj->n", h, bilinear.relations[code], other)
    torch.testing.assert_close(bilinear.pairs(h, other, code), expected)


def test_a_relation_that_the_model_does_not_know_is_refused():
    model = model_for(triples(inverse=False), decoder="distmult")
    h = torch.zeros(2, 16)
    with pytest.raises(InputError, match="relation 2 is none of the 2"):
        model.score(h, torch.tensor([[0], [1]]), torch.tensor([2]))
    with pytest.raises(InputError, match="no decoder"):
        model_for(communities(), decoder="none").score(h, torch.tensor([[0], [1]]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 6))
def test_candidate_loss_over_every_candidate_once_is_the_softmax(seed: int, count: int):
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, count, generator=rng)
    target = torch.randint(count, (3,), generator=rng)
    positive = scores[torch.arange(3), target]
    exact = torch.nn.functional.cross_entropy(scores, target)
    others = torch.stack([
        torch.cat([scores[i, : target[i]], scores[i, target[i] + 1 :]]) for i in range(3)
    ])  # fmt: skip
    drawn = torch.full((count - 1,), -1)  # none of them the target
    torch.testing.assert_close(candidate_loss(positive, others, target, drawn, count), exact)
    torch.testing.assert_close(pair_loss("softmax", positive, others), exact)


def test_the_given_end_is_a_candidate_that_is_counted_once():
    scores = torch.tensor([[0.5, -1.0, 2.0, 0.3], [1.0, 0.0, -0.5, 0.2]])
    target, places = torch.tensor([1, 3]), torch.tensor([0, 3])  # the second edge is a self-loop
    own = places, scores[torch.arange(2), places]
    positive = scores[torch.arange(2), target]
    found = candidate_loss(positive[:1], scores[:1, 2:], target[:1], torch.tensor([2, 3]), 4,
                           (own[0][:1], own[1][:1]))  # fmt: skip
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(scores[:1], target[:1]))
    again = candidate_loss(positive[:1], scores[:1], target[:1], torch.tensor([0, 1, 2, 3]), 6,
                           (own[0][:1], own[1][:1]))  # fmt: skip
    torch.testing.assert_close(again, found)  # drawn once more, neither end counts again
    loop = candidate_loss(positive[1:], scores[1:, :2], target[1:], torch.tensor([0, 1]), 4,
                          (own[0][1:], own[1][1:]))  # fmt: skip
    assert torch.isfinite(loop)


def test_pair_losses_are_their_formulas():
    positive, negative = torch.tensor([1.0, -2.0]), torch.tensor([[0.5], [3.0]])
    log = torch.nn.functional.logsigmoid
    bpr = -log(positive[:, None] - negative).mean()
    torch.testing.assert_close(pair_loss("bpr", positive, negative), bpr)
    bce = -log(positive).mean() - log(-negative).mean()
    torch.testing.assert_close(pair_loss("bce", positive, negative), bce)


def fitted(data: Dataset, config: TrainConfig = CONFIG, **changes: object) -> GNN:
    model = model_for(data, **changes)
    list(train(model, data, config))
    return model


CASES = {
    "communities": (communities, {"conv": "gcn"}, {"epochs": 40, "lr": 0.05}, "roc_auc", 0.8),
    "drawn neighbors": (communities, {"conv": "sage", "decoder": "mlp"},
                        {"epochs": 40, "fanouts": (6, 6)}, "roc_auc", 0.7),
    "triples": (lambda: triples(True), {"conv": "gcn", "decoder": "bilinear", "num_layers": 1},
                {"epochs": 40}, "mrr", 0.3),
    "one-way triples": (lambda: triples(False),
                        {"decoder": "bilinear", "num_layers": 1}, {"epochs": 40}, "mrr", 0.3),
    "ratings": (ratings, {"conv": "lightgcn", "jumping": "mean"}, {}, "recall@20", 0.95),
    "candidates": (ratings, {"conv": "lightgcn", "jumping": "mean"},
                   {"link_loss": "softmax", "num_negatives": 8}, "recall@20", 0.95),
    "cosines": (ratings, {"conv": "lightgcn", "jumping": "mean"},
                {"link_loss": "softmax", "num_negatives": 8, "temperature": 0.2},
                "recall@20", 0.95),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_what_can_be_learned_is_learned(case: str):
    make, model, training, metric, least = CASES[case]
    data = make()
    trained = fitted(data, replace(CONFIG, **training), **model)
    metrics = evaluate(trained, data, task="link-prediction", split=(0.8, 0.1, 0.1), seed=3)
    untrained = evaluate(model_for(data, **model), data, task="link-prediction",
                         split=(0.8, 0.1, 0.1), seed=3)  # fmt: skip
    assert metrics[metric] >= least
    assert metrics[metric] >= untrained[metric]


def test_batches_with_blocks_of_their_own_learn_as_well(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(WholeGraph, "fits", staticmethod(lambda graph, fanouts: False))
    data = triples(inverse=True)
    session = link_session.LinkSession.prepare(model_for(data, decoder="distmult"), data, CONFIG)
    assert session.loader is not None
    losses = [session.run_epoch(epoch).loss for epoch in range(12)]
    assert losses[-1] < losses[0] * 0.8


def test_the_edges_of_a_batch_are_no_messages_in_its_step(monkeypatch: pytest.MonkeyPatch):
    data = communities()
    session = link_session.LinkSession.prepare(model_for(data), data, CONFIG)
    seen = []
    encode = session.whole.whole.encode

    def spy(seed, hidden=None, x=None):
        seen.append(hidden)
        return encode(seed, hidden, x)

    monkeypatch.setattr(WholeGraph, "encode", lambda self, *args: spy(*args))
    result = session.run_epoch(0)
    walked = session.parts.data.graph.num_edges * 2
    assert len(seen) == -(-len(session.parts.train) // 64)
    assert all(len(hidden[0]) <= 128 for hidden in seen)
    assert result.edges == walked * len(seen) - 2 * sum(len(hidden[0]) for hidden in seen)


@pytest.mark.parametrize("count", [0, 8])
def test_scores_in_pieces_give_the_loss_and_the_gradients_of_one_piece(
    monkeypatch: pytest.MonkeyPatch, count: int
):
    found = []
    for at_once in (1 << 20, 100):
        monkeypatch.setattr(link_whole, "SCORES_AT_ONCE", at_once)
        data, config = triples(inverse=True), replace(CONFIG, num_negatives=count)
        model = model_for(data, decoder="distmult", conv="gcn", num_layers=1)
        session = link_session.LinkSession.prepare(model, data, config)
        loss, _ = session.whole.of(session.targets.take(slice(0, 50)), 5)
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) > 3
    for one, pieces in zip(*found, strict=True):
        torch.testing.assert_close(one, pieces, atol=1e-6, rtol=1e-4)


def test_training_is_the_same_bits_twice_and_after_a_stop(tmp_path):
    data, config = communities(), replace(CONFIG, epochs=4, fanouts=(3, 2))
    whole = fitted(data, config).state_dict()
    model = model_for(data)
    unfinished = train(model, data, config, resume_dir=tmp_path)
    next(unfinished)
    unfinished.close()
    resumed = model_for(data)
    list(train(resumed, data, config, resume_dir=tmp_path, resume=True))
    assert all(torch.equal(whole[name], value) for name, value in resumed.state_dict().items())


def test_a_link_model_is_saved_and_scores_the_same(tmp_path):
    data = triples(inverse=True)
    model = model_for(data, decoder="distmult")
    config = replace(CONFIG, epochs=1)
    list(train(model, data, config))
    saved = load_model(save_model(tmp_path / "links", model, data, config, {"test": {}}))
    parts = split_links(data)
    inputs = with_inputs(data, model.config)
    ours, theirs = (score_links(m, infer(m, inputs), parts.test) for m in (model, saved.model))
    torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


def test_the_penalty_is_the_cubes_of_the_factors_of_both_questions():
    data, config = triples(inverse=True), replace(CONFIG, n3_decay=0.3, batch_size=1000)
    session = link_session.LinkSession.prepare(model_for(data, decoder="distmult"), data, config)
    h, parts = torch.randn(N, 16), session.parts
    r = session.model.decoder.relations.weight
    pairs, codes = torch.from_numpy(np.stack([parts.train.src, parts.train.dst])), parts.train.types
    rows = [
        h[pairs[0]],
        h[pairs[1]],
        (r[codes].abs() ** 3 + r[parts.inverse[codes]].abs() ** 3) / 2,
    ]
    expected = 0.3 * sum((v.abs() ** 3 if i < 2 else v).sum(1).mean() for i, v in enumerate(rows))
    found = penalty_of(session.model.decoder, config, parts, (h[pairs[0]], h[pairs[1]]), codes)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("whole", [True, False])
def test_a_penalty_makes_factors_smaller(monkeypatch: pytest.MonkeyPatch, whole: bool):
    monkeypatch.setattr(WholeGraph, "fits", staticmethod(lambda graph, fanouts: whole))
    data, sizes = triples(inverse=True), []
    for strength in (0.0, 1.0):
        config = replace(CONFIG, n3_decay=strength)
        model = fitted(data, config, conv="identity", num_layers=1, decoder="distmult")
        sizes.append(float(infer(model, with_inputs(data, model.config)).abs().mean()))
    assert sizes[1] < 0.7 * sizes[0]


def test_a_penalty_on_factors_needs_a_decoder_that_has_them():
    with pytest.raises(TrainingError, match="decoder mlp"):
        fitted(communities(), replace(CONFIG, n3_decay=0.1), decoder="mlp")


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_with_a_temperature_the_loss_is_that_of_cosines(loss: str):
    data = communities()
    config = replace(
        CONFIG, link_loss=loss, temperature=0.2, num_negatives=0 if loss == "softmax" else 2
    )
    session = link_session.LinkSession.prepare(model_for(data), data, config)
    batch, whole = session.targets.take(slice(0, 30)), session.whole
    found, _ = whole.of(batch, 5)
    h, _ = whole.whole.encode(5, whole._hidden(batch))
    cosines = torch.cosine_similarity(h[:, None], h[None], dim=2) / 0.2
    src, dst = torch.from_numpy(batch.src), torch.from_numpy(batch.dst)
    if loss == "softmax":
        expected = torch.nn.functional.cross_entropy(cosines[src], dst)
    else:
        drawn = whole.negatives.pairs(batch.src, batch.dst, 5)
        expected = pair_loss("bce", cosines[src, dst], cosines[drawn[0], drawn[1]].view(30, -1))
    torch.testing.assert_close(found, expected)


def test_rows_for_a_temperature_have_cosines_as_inner_products():
    h = torch.tensor([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    rows = rows_for(0.5, h)
    torch.testing.assert_close(rows @ rows.T, torch.tensor([[2, 1.6, 0], [1.6, 2, 0], [0, 0, 0]]))
    assert rows_for(None, h) is h


@pytest.mark.parametrize("whole", [True, False])
def test_with_a_temperature_the_loss_does_not_see_how_long_rows_are(
    monkeypatch: pytest.MonkeyPatch, whole: bool
):
    monkeypatch.setattr(WholeGraph, "fits", staticmethod(lambda graph, fanouts: whole))
    data, losses = communities(), []
    config = replace(CONFIG, temperature=0.2)
    for factor in (1.0, 5.0):
        model = model_for(data, conv="lightgcn", jumping="mean")
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(factor)
        session = link_session.LinkSession.prepare(model, data, replace(config, lr=1e-12))
        losses.append(session.run_epoch(0).loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_temperature_is_positive_and_for_inner_products():
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="it must be a positive number, "):
            replace(CONFIG, temperature=bad)
    with pytest.raises(TrainingError, match="the decoder mlp; it is for cosines"):
        fitted(communities(), replace(CONFIG, temperature=0.1), decoder="mlp")


def test_settings_that_links_do_not_read_are_refused_by_name():
    ignored = {"class_weights": "balanced", "conformal_alpha": 0.2, "split_index": 1,
               "objective": "dgi", "strategy": "uniform", "eval_fanouts": (3, 3)}  # fmt: skip
    for name, value in ignored.items():
        with pytest.raises(InputError, match=name):
            replace(CONFIG, **{name: value})
    for name, value in {"exclude_targets": False, "n3_decay": 0.1, "temperature": 0.1}.items():
        with pytest.raises(InputError, match=name):
            replace(CONFIG, temporal=True, **{name: value})
        with pytest.raises(InputError, match=name):
            TrainConfig(**{name: value})
    assert replace(CONFIG, temporal=True, strategy="uniform", eval_fanouts=(3, 3))


def test_fewer_edges_can_be_trained_on():
    data, config = communities(), replace(CONFIG, max_train_seeds=50)
    session = link_session.LinkSession.prepare(model_for(data), data, config)
    again = link_session.LinkSession.prepare(model_for(data), data, config)
    all_of_them = keys(session.parts.train.src, session.parts.train.dst)
    assert len(session.targets) == 50
    assert keys(session.targets.src, session.targets.dst) <= all_of_them
    assert np.array_equal(session.targets.src, again.targets.src)


def test_what_cannot_be_trained_is_said():
    data = communities()
    with pytest.raises(TrainingError, match="no decoder"):
        next(train(model_for(data, decoder="none"), data, CONFIG))
    only_test = replace(data, links=LinkSet.of([[0, 1]], [3]))
    with pytest.raises(TrainingError, match="no val edges"):
        next(train(model_for(data), only_test, replace(CONFIG, monitor="mrr")))
    parts = evaluate_parts(model_for(data), only_test, task="link-prediction")
    assert set(parts) == {"train", "test"}
    with pytest.raises(TrainingError, match="no val edges"):
        evaluate(model_for(data), only_test, "val", task="link-prediction")


def core_and_rim() -> Dataset:
    """A dense core, a rim of nodes with one edge into it, and given pairs that are no edges."""
    rng = np.random.default_rng(0)
    one, other = np.triu_indices(30, 1)
    chosen = rng.random(len(one)) < 0.7
    core = np.stack([one[chosen], other[chosen]])
    rim = np.stack([rng.integers(0, 30, 90), np.arange(30, 120)])
    order = rng.permutation(core.shape[1])
    held, kept = core[:, order[:40]], core[:, order[40:]]
    pairs = np.concatenate([kept, rim], axis=1)
    pairs = np.concatenate([pairs, pairs[::-1]], axis=1)
    away = rng.choice(np.arange(30, 120), (400, 2))
    away = away[away[:, 0] != away[:, 1]]
    links = LinkSet.of(
        np.concatenate([held.T, away]),
        np.full(40 + len(away), 3),
        np.repeat([1, 0], [40, len(away)]),
    )
    return Dataset.in_memory(Graph.from_edges(*pairs, num_nodes=120), links=links)


def test_pairs_of_nodes_of_low_degree_do_not_score_above_edges():
    data = core_and_rim()
    model = model_for(data, conv="identity", num_layers=1)
    list(train(model, data, replace(CONFIG, epochs=20, num_negatives=4, monitor="none")))
    found = evaluate(model, data, "test", task="link-prediction")
    assert found["hits@20"] > 0.6  # 0.15 where sources are those of edges
