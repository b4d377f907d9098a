"""Metrics of links: exact, ties counted at their mean rank.

Knowledge graphs rank the true end among all nodes, other true ends left out (the "filtered"
setting; Bordes et al. 2013), and a tie takes the mean of its places, so that a constant score is
no good score (Sun et al. 2020). Recommendation ranks all items a user has not chosen before;
its reciprocal rank and Hits@K are of the best item that the user chose.
Pairs are told from negatives: Hits@K as in the Open Graph Benchmark (Hu et al. 2020) is the share
of edges that score above the K-th best negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "HITS",
    "KEPT",
    "Answers",
    "filtered_ranks",
    "first_ranks",
    "hits_above",
    "list_metrics",
    "pair_metrics",
    "rank_metrics",
]

HITS = (1, 3, 10, 20, 50, 100)
KEPT = 20
Ints = NDArray[np.int64]


class Answers:
    """The known answers of every question, to be looked up many questions at once.

    Args:
        questions: one whole number per known (question, answer), (num_known,).
        answers: dense nodes, the same shape.
    """

    def __init__(self, questions: Ints, answers: Ints) -> None:
        order = np.lexsort([answers, questions])
        self.questions, first = np.unique(questions[order], return_index=True)
        self.indptr = np.append(first, len(order))
        self.answers = answers[order]

    def of(self, questions: Ints) -> tuple[Ints, Ints]:
        """Known (row of `questions`, answer) pairs, rows ascending."""
        if not len(self.questions):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        place = np.minimum(np.searchsorted(self.questions, questions), len(self.questions) - 1)
        known = self.questions[place] == questions
        starts = np.where(known, self.indptr[place], 0)
        counts = np.where(known, self.indptr[place + 1] - self.indptr[place], 0)
        rows = np.repeat(np.arange(len(questions)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self.answers[starts[rows] + within]


def filtered_ranks(scores: Tensor, target: Tensor, known: tuple[Ints, Ints]) -> Tensor:
    """Rank of every target among the candidates that are not other known answers, from 1.

    Args:
        scores: (rows, num_candidates); changed in place.
        target: the true candidate of every row, (rows,).
        known: (row, candidate) pairs to leave out; the target itself is kept.

    Returns:
        (rows,) float64: 1 + better ones + half of those that tie.
    """
    rows = torch.arange(len(target))
    own = scores[rows, target].clone()
    scores[torch.from_numpy(known[0]), torch.from_numpy(known[1])] = -torch.inf
    scores[rows, target] = -torch.inf
    better = (scores > own[:, None]).sum(dim=1)
    equal = (scores == own[:, None]).sum(dim=1)
    return 1 + better.double() + equal.double() / 2


def rank_metrics(ranks: Tensor, ks: Sequence[int] = HITS) -> dict[str, float]:
    """Mean reciprocal rank, and the share of ranks up to each K."""
    hits = {f"hits@{k}": float((ranks <= k).double().mean()) for k in ks}
    return {"mrr": float((1 / ranks).mean()), **hits}


def list_metrics(scores: Tensor, relevant: tuple[Ints, Ints], k: int = KEPT) -> NDArray[np.float64]:
    """Recall@K and NDCG@K of every row, (rows, 2).

    The best possible DCG has the relevant
    items, at most K, at the top.

    Args:
        scores: (rows, num_candidates); minus infinity for what is not to be listed.
        relevant: (row, candidate) pairs; every row has one at least.
        k: length of the list.
    """
    count = min(k, scores.shape[1])
    top = torch.topk(scores, count, dim=1).indices.numpy()
    width = scores.shape[1]
    rows = np.arange(len(scores))[:, None]
    asked = np.unique(relevant[0] * width + relevant[1])
    found = np.isin(rows * width + top, asked)
    total = np.bincount(asked // width, minlength=len(scores))
    gain = 1 / np.log2(np.arange(count) + 2)
    best = np.concatenate([[0.0], np.cumsum(gain)])[np.minimum(total, count)]
    return np.stack([found.sum(axis=1) / total, (found * gain).sum(axis=1) / best], axis=1)


def first_ranks(scores: Tensor, relevant: tuple[Ints, Ints]) -> Tensor:
    """Rank of the best relevant candidate of every row, from 1.

    Args:
        scores: (rows, num_candidates); minus infinity for what is not to be listed.
        relevant: (row, candidate) pairs; every row has one at least.

    Returns:
        (rows,) float64: 1 + better ones + half of the others that tie.
    """
    rows, columns = (torch.from_numpy(a) for a in relevant)
    own = torch.full_like(scores, -torch.inf)
    own[rows, columns] = scores[rows, columns]
    best = own.max(dim=1, keepdim=True).values
    better, equal = (scores > best).sum(dim=1), ((scores == best) & (own != best)).sum(dim=1)
    return 1 + better.double() + equal.double() / 2


def hits_above(positive: Tensor, negative: Tensor, k: int) -> float:
    """Share of edges that score above the k-th best negative; 1 where there are fewer than k."""
    if len(negative) < k:
        return 1.0
    bar = torch.topk(negative, k).values[-1]
    return float((positive > bar).double().mean())


def pair_metrics(positive: Tensor, negative: Tensor) -> dict[str, float]:
    """Metrics of scores of edges against scores of pairs that are none.

    The reciprocal rank is that of an edge among all negatives.

    Args:
        positive: (num_edges,).
        negative: (num_negatives,), at least one.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    y = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    scores = torch.cat([positive, negative]).double().numpy()
    ordered = torch.sort(negative).values
    above = len(negative) - torch.searchsorted(ordered, positive, right=True)
    equal = torch.searchsorted(ordered, positive, right=True) - torch.searchsorted(
        ordered, positive
    )
    ranks = 1 + above.double() + equal.double() / 2
    return {
        "roc_auc": float(roc_auc_score(y, scores)),
        "average_precision": float(average_precision_score(y, scores)),
        "mrr": float((1 / ranks).mean()),
        **{f"hits@{k}": hits_above(positive, negative, k) for k in HITS},
    }
