"""What is made small when links are learned.

bce      -log σ(s_pos) - mean log σ(-s_neg)
bpr      -log σ(s_pos - s_neg)                      (Rendle et al. 2009)
softmax  -log exp(s_pos) / Σ_candidates exp(s)      (1-N scoring; Lacroix et al. 2018)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sampling.errors import InputError

__all__ = ["candidate_loss", "pair_loss"]


def pair_loss(kind: str, positive: Tensor, negative: Tensor) -> Tensor:
    """The mean loss of edges and of the negatives of each.

    Args:
        kind: "bce", "bpr" or "softmax".
        positive: logits of edges, (num_edges,).
        negative: logits of their negatives, (num_edges, num_negatives).
    """
    if not negative.shape[1]:
        raise InputError("num_negatives is 0; give at least one negative per edge")
    if kind == "bpr":
        return F.softplus(negative - positive[:, None]).mean()
    if kind == "softmax":
        logits = torch.cat([positive[:, None], negative], dim=1)
        return (torch.logsumexp(logits, dim=1) - positive).mean()
    return F.softplus(-positive).mean() + F.softplus(negative).mean()


def candidate_loss(
    positive: Tensor, scores: Tensor, target: Tensor, drawn: Tensor | None, count: int
) -> Tensor:
    """Softmax cross-entropy of true ends among all candidates, or estimated from drawn ones.

    Args:
        positive: logits of the edges, (num_edges,).
        scores: logits of every edge's given end with the candidates, (num_edges, num_candidates).
        target: the true end's place among all candidates, (num_edges,).
        drawn: which candidates `scores` holds, (num_candidates,); None for all of them.
        count: number of all candidates; drawn ones stand for that many.
    """
    if drawn is None:
        return F.cross_entropy(scores, target)
    # A drawn candidate stands for count / len(drawn) of them; the true end is counted once.
    scores = scores + math.log(max(count - 1, 1) / len(drawn))
    scores = scores.masked_fill(drawn == target[:, None], -torch.inf)
    total = torch.logsumexp(torch.cat([positive[:, None], scores], dim=1), dim=1)
    return (total - positive).mean()
