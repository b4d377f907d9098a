"""Metrics of links against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn.ranking import (
    Answers,
    filtered_ranks,
    first_ranks,
    hits_above,
    list_metrics,
    pair_metrics,
    rank_metrics,
)

small = st.integers(-3, 3)


def twin_rank(scores: np.ndarray, target: int, known: set[int]) -> float:
    """Mean over all orders of ties of the target's place among what is not known."""
    others = [scores[i] for i in range(len(scores)) if i != target and i not in known]
    better = sum(s > scores[target] for s in others)
    return 1 + better + sum(s == scores[target] for s in others) / 2


@settings(deadline=None)
@given(st.data())
def test_filtered_ranks_are_those_of_their_definition(data: st.DataObject):
    rows, count = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    scores = np.array(
        data.draw(st.lists(st.lists(small, min_size=count, max_size=count), min_size=rows,
                           max_size=rows)), np.float32,
    )  # fmt: skip
    target = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=rows, max_size=rows)))
    known = [data.draw(st.sets(st.integers(0, count - 1))) for _ in range(rows)]
    pairs = [(i, node) for i, nodes in enumerate(known) for node in sorted(nodes)]
    found = filtered_ranks(
        torch.from_numpy(scores.copy()),
        torch.from_numpy(target),
        tuple(np.array(pairs, np.int64).reshape(-1, 2).T.copy()),
    )
    twin = [twin_rank(scores[i], int(target[i]), known[i]) for i in range(rows)]
    assert found.tolist() == twin


def test_a_constant_score_is_no_good_score():
    ranks = filtered_ranks(torch.zeros(1, 101), torch.tensor([7]), (np.array([], int),) * 2)
    assert ranks.tolist() == [51.0]
    assert rank_metrics(ranks)["hits@50"] == 0


def test_rank_metrics_are_means_over_ranks():
    found = rank_metrics(torch.tensor([1.0, 4.0, 20.0]))
    assert found["mrr"] == pytest.approx((1 + 1 / 4 + 1 / 20) / 3)
    assert (found["hits@1"], found["hits@10"], found["hits@20"]) == (1 / 3, 2 / 3, 1.0)


@settings(deadline=None)
@given(st.data())
def test_first_ranks_are_those_of_the_best_relevant_candidate(data: st.DataObject):
    rows, count = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    one = st.lists(small, min_size=count, max_size=count)
    scores = np.array(data.draw(st.lists(one, min_size=rows, max_size=rows)), np.float32)
    chosen = [sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
              for _ in range(rows)]  # fmt: skip
    relevant = (
        np.concatenate([np.full(len(nodes), i) for i, nodes in enumerate(chosen)]),
        np.concatenate(chosen),
    )
    best = [max(nodes, key=lambda node, row=row: row[node])
            for row, nodes in zip(scores, chosen, strict=True)]  # fmt: skip
    expected = [twin_rank(row, node, {*nodes} - {node})
                for row, node, nodes in zip(scores, best, chosen, strict=True)]  # fmt: skip
    assert first_ranks(torch.from_numpy(scores), relevant).tolist() == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=30),
       st.lists(st.integers(0, 6), max_size=8))  # fmt: skip
def test_answers_are_found_as_in_a_dictionary(known: list[tuple[int, int]], asked: list[int]):
    known = sorted(set(known))
    pairs = np.array(known, np.int64).reshape(-1, 2)
    rows, answers = Answers(pairs[:, 0], pairs[:, 1]).of(np.array(asked, np.int64))
    expected = [(i, a) for i, question in enumerate(asked) for q, a in known if q == question]
    assert list(zip(rows.tolist(), answers.tolist(), strict=True)) == expected


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_lists_are_measured_as_defined(seed: int, k: int):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(40).reshape(4, 10).astype(np.float32)
    wanted = [sorted(rng.choice(10, rng.integers(1, 8), replace=False).tolist()) for _ in range(4)]
    pairs = np.array([(i, item) for i, items in enumerate(wanted) for item in items])
    found = list_metrics(torch.from_numpy(scores), (pairs[:, 0], pairs[:, 1]), k)
    for i, items in enumerate(wanted):
        top = np.argsort(-scores[i])[:k].tolist()
        dcg = sum(1 / np.log2(place + 2) for place, item in enumerate(top) if item in items)
        best = sum(1 / np.log2(place + 2) for place in range(min(k, len(items))))
        assert found[i, 0] == len(set(top) & set(items)) / len(items)
        assert found[i, 1] == pytest.approx(dcg / best)


@settings(deadline=None)
@given(st.lists(small, min_size=1, max_size=12), st.lists(small, min_size=1, max_size=12))
def test_pairs_are_measured_as_defined(positive: list[int], negative: list[int]):
    pos, neg = (torch.tensor(x, dtype=torch.float32) for x in (positive, negative))
    found = pair_metrics(pos, neg)
    wins = np.mean([(p > n) + (p == n) / 2 for p in positive for n in negative])
    assert found["roc_auc"] == pytest.approx(wins)
    ranks = [1 + sum(n > p for n in negative) + sum(n == p for n in negative) / 2 for p in positive]
    assert found["mrr"] == pytest.approx(np.mean([1 / r for r in ranks]))
    for k in (1, 3):
        bar = sorted(negative)[-k] if len(negative) >= k else -np.inf
        assert hits_above(pos, neg, k) == np.mean([p > bar for p in positive])
