"""What is made small when links are learned.

bce      -log σ(s_pos) - mean log σ(-s_neg)
bpr      -log σ(s_pos - s_neg)                      (Rendle et al. 2009)
softmax  -log exp(s_pos) / Σ_candidates exp(s)      (1-N scoring; Lacroix et al. 2018)
n3       Σ_i |h_u[i]|³ + |r[i]|³ + |h_v[i]|³, a penalty on the factors of every edge that is asked
         about (Lacroix, Usunier, Obozinski: Canonical Tensor Decomposition for Knowledge Base
         Completion, 2018): as rows that are asked about often pay often, it suits rows of any
         frequency with one strength, which a penalty on all rows does not
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from torch import Tensor

from sampling.errors import InputError

__all__ = ["candidate_loss", "n3_penalty", "pair_loss", "rows_for"]

FAR_BELOW = -1e30
"""A logit that adds nothing; unlike minus infinity, a row of them has a gradient."""


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


def rows_for(temperature: float | None, h: Tensor) -> Tensor:
    """Rows whose inner products a loss reads: cosines over the temperature, where there is one.

    What a loss reads then does not grow with rows, and a softmax looks at the hardest candidates;
    answers rank by inner products, in which rows of frequent nodes are longer (Wu et al.: On the
    Effectiveness of Sampled Softmax Loss for Item Recommendation, 2024).

    Args:
        temperature: the smaller, the harder; None leaves rows as they are.
        h: embeddings, (rows, d).
    """
    return h if temperature is None else F.normalize(h, dim=1) / math.sqrt(temperature)


def n3_penalty(factors: Sequence[Tensor]) -> Tensor:
    """The mean over edges of the cubes of their factors' magnitudes.

    Args:
        factors: rows of ends and of relations, each (num_edges, d).
    """
    return torch.stack([rows.abs().pow(3).sum(dim=1).mean() for rows in factors]).sum()


def candidate_loss(
    positive: Tensor,
    scores: Tensor,
    target: Tensor,
    drawn: Tensor,
    count: int,
    own: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Softmax cross-entropy of true ends among all candidates, estimated from drawn ones.

    The given end itself is the strongest wrong candidate of a decoder that compares rows, and is
    drawn once in `count` times; where it is given it is always counted.

    Args:
        positive: logits of the edges, (num_edges,).
        scores: logits of every edge's given end with the candidates, (num_edges, num_candidates).
        target: the true end's place among all candidates, (num_edges,).
        drawn: which candidates `scores` holds, (num_candidates,).
        count: number of all candidates; drawn ones stand for that many.
        own: of the given ends as candidates, beside drawn ones: places among all candidates and
            logits, each (num_edges,); None where they are of another type.
    """
    # A drawn candidate stands for many; the true end, and the given one, are counted once.
    certain = 1 if own is None else 2
    hidden = target[:, None] if own is None else torch.stack([target, own[0]], dim=1)
    scores = _without(scores, drawn, hidden)
    total = torch.logsumexp(scores, dim=1) + math.log(max(count - certain, 1) / len(drawn))
    total = torch.logaddexp(total, positive)
    if own is not None:
        places, logits = own
        total = torch.logaddexp(total, logits.masked_fill(places == target, FAR_BELOW))
    return (total - positive).mean()


def _without(scores: Tensor, drawn: Tensor, places: Tensor) -> Tensor:
    """The scores without candidates that were drawn at a row's own places, (rows, k); few are."""
    ordered, order = torch.sort(drawn)
    flat = places.reshape(-1)
    first = torch.searchsorted(ordered, flat)
    counts = torch.searchsorted(ordered, flat, right=True) - first
    found = torch.repeat_interleave(torch.arange(len(flat), device=flat.device), counts)
    before = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    within = torch.arange(len(found), device=flat.device) - before
    at = found // places.shape[1], order[first[found] + within]
    return scores.index_put(at, scores.new_tensor(FAR_BELOW))
