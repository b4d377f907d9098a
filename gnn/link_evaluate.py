"""How well a model predicts the edges of one part, by the protocol that its graph asks for.

    knowledge       several edge types: the true end among all nodes, both ends, filtered; where
                    edges have times, by what is true at the same time
    recommendation  two node types and edges between them: all items ranked for every user, the top
                    20, and the best place of an item that the user chose
    pairs           else, and where negatives are given: edges against pairs that are none

Embeddings are exact, of the graph of messages alone. The train part is measured on a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own docs use
from numpy.typing import NDArray
from torch import Tensor

from gnn.device import at_home
from gnn.errors import TrainingError
from gnn.inputs import with_inputs
from gnn.layerwise import infer
from gnn.link_split import LinkParts, Links
from gnn.model import GNN
from gnn.ranking import (
    HITS,
    KEPT,
    Answers,
    filtered_ranks,
    first_ranks,
    list_metrics,
    pair_metrics,
    rank_metrics,
)
from sampling import NodeType

__all__ = [
    "EVAL_SEED",
    "LINKS_MEASURED",
    "link_metrics",
    "link_tensors",
    "protocol_of",
    "score_links",
]

EVAL_SEED = 20_130_711
TRAIN_SAMPLE = 2_000
SCORES_AT_ONCE = 1 << 24
PAIRS_AT_ONCE = 1 << 18
DRAWS = 50
Ints = NDArray[np.int64]

RANKED = ("mrr", *(f"hits@{k}" for k in HITS))
LISTED = (f"recall@{KEPT}", f"ndcg@{KEPT}")
LINKS_MEASURED: dict[str, tuple[str, ...]] = {
    "knowledge": RANKED,
    "recommendation": (*LISTED, *RANKED),
    "pairs": ("roc_auc", "average_precision", *RANKED, "loss"),
}
"""What is measured of edges, by protocol."""


def protocol_of(parts: LinkParts) -> str:
    """ "knowledge", "recommendation" or "pairs"."""
    if parts.negatives:
        return "pairs"
    if parts.train.types is not None:
        return "knowledge"
    types = parts.data.graph.node_types
    if len(types) != 2:
        return "pairs"
    edges = parts.all_true
    one = _type_of(types, edges.src)
    other = _type_of(types, edges.dst)
    return "recommendation" if (one != other).all() else "pairs"


def link_metrics(
    model: GNN,
    parts: LinkParts,
    names: Sequence[str],
    *,
    limit: int | None = None,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Metrics of several parts at once; parts without edges are left out.

    Args:
        model: with a decoder; left as it was.
        parts: from `split_links`.
        names: of "train", "val", "test".
        limit: measure a part on at most this many edges, chosen at random.
        seed: randomness of that choice.

    Raises:
        TrainingError: the model has no decoder.
        SchemaMismatchError: the graph is not one that the model can read.
    """
    if model.decoder is None:
        raise TrainingError('the model has no decoder; build it with one, as in decoder="dot"')
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), at_home(model, model.device):
            h = infer(model, with_inputs(parts.data, model.config))
            measured = {n: _measured(model, h, parts, n, limit, seed) for n in names}
    finally:
        model.train(was_training)
    return {name: values for name, values in measured.items() if values}


def score_links(model: GNN, h: Tensor, links: Links) -> Tensor:
    """Logits of links, (num_links,), a bounded number at a time.

    Args:
        model: with a decoder.
        h: embeddings of all nodes.
        links: pairs of dense nodes.
    """
    starts = range(0, len(links), PAIRS_AT_ONCE)
    some = (links.take(slice(start, start + PAIRS_AT_ONCE)) for start in starts)
    scores = [model.score(h, *link_tensors(part)) for part in some]
    return torch.cat([h.new_zeros(0), *scores])


def link_tensors(links: Links) -> tuple[Tensor, Tensor | None]:
    """Pairs (2, num_links) and relations (num_links,) or None, as a model takes them."""
    pairs = torch.from_numpy(np.stack([links.src, links.dst]))
    return pairs, None if links.types is None else torch.from_numpy(links.types)


def _measured(
    model: GNN, h: Tensor, parts: LinkParts, name: str, limit: int | None, seed: int
) -> dict[str, float]:
    links, protocol = parts.part(name), protocol_of(parts)
    if not len(links) or (protocol == "recommendation" and name == "train"):
        return {}
    most = min(limit or len(links), TRAIN_SAMPLE if name == "train" else len(links))
    if protocol == "recommendation":
        return _recommendation(model, h, parts, name, limit, seed)
    if most < len(links):
        rng = np.random.default_rng((seed, EVAL_SEED))
        links = links.take(np.sort(rng.choice(len(links), most, replace=False)))
    if protocol == "knowledge":
        return rank_metrics(torch.cat(list(_all_ranks(model, h, parts, links))))
    return _pairs(model, h, parts, name, links)


def _pairs(model: GNN, h: Tensor, parts: LinkParts, name: str, links: Links) -> dict[str, float]:
    negatives = parts.negatives.get(name)
    if negatives is None:
        negatives = drawn_negatives(parts, links)
    if not len(negatives):
        return {}
    positive, negative = score_links(model, h, links), score_links(model, h, negatives)
    loss = F.softplus(-positive).mean() + F.softplus(negative).mean()
    return {**pair_metrics(positive, negative), "loss": float(loss)}


def drawn_negatives(parts: LinkParts, links: Links) -> Links:
    """One pair for every link: its source, and a node of its destination's type without an edge.

    Pairs for which no such node is found in 50 draws are left out.
    """
    types, n = parts.data.graph.node_types, parts.data.graph.num_nodes
    known, rng = _known_pairs(parts, n), np.random.default_rng(EVAL_SEED)
    code = _type_of(types, links.dst)
    starts, ends = np.array([t.start for t in types])[code], np.array([t.end for t in types])[code]
    dst, left = np.full(len(links), -1, np.int64), np.arange(len(links))
    for _ in range(DRAWS):
        if not len(left):
            break
        drawn = rng.integers(starts[left], ends[left])
        fits = ~_holds(known, links.src[left] * n + drawn) & (drawn != links.src[left])
        dst[left[fits]] = drawn[fits]
        left = left[~fits]
    found = dst >= 0
    return Links(links.src, dst, links.types).take(found)


def _holds(ordered: Ints, asked: Ints) -> NDArray[np.bool_]:
    """Which of these numbers are among the ordered ones, of which there is one at least."""
    place = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
    held: NDArray[np.bool_] = ordered[place] == asked
    return held


def _known_pairs(parts: LinkParts, n: int) -> Ints:
    edges = parts.all_true
    keys = edges.src * n + edges.dst
    return np.unique(np.concatenate([keys, edges.dst * n + edges.src]) if parts.symmetric else keys)


def _all_ranks(model: GNN, h: Tensor, parts: LinkParts, links: Links) -> Iterator[Tensor]:
    """Filtered ranks of destinations, then of sources."""
    known = parts.all_true
    assert known.types is not None and links.types is not None and model.decoder is not None
    count = parts.data.graph.num_nodes
    asked, asked_of = _asked_about(known, links)
    tails = Answers(asked * count + known.src, known.dst)
    heads = Answers(asked * count + known.dst, known.src)
    step = max(1, SCORES_AT_ONCE // max(count, 1))
    for start in range(0, len(links), step):
        some = links.take(slice(start, start + step))
        assert some.types is not None
        for answers, given, wanted, is_head in (
            (tails, some.src, some.dst, False),
            (heads, some.dst, some.src, True),
        ):
            scores = _against_all(model, h, parts, some.types, given, is_head)
            _hide_other_types(scores, parts.data.graph.node_types, wanted)
            found = answers.of(asked_of[start : start + step] * count + given)
            yield filtered_ranks(scores, torch.from_numpy(wanted), found)


def _asked_about(known: Links, links: Links) -> tuple[Ints, Ints]:
    """Codes of what is asked about besides a node: the edge type, and the time where there is one.

    Of the known links and of those to measure: equal codes are equal questions.
    """
    assert known.types is not None and links.types is not None
    if known.times is None or links.times is None:
        return known.types, links.types
    types = np.concatenate([known.types, links.types])
    times = np.concatenate([known.times, links.times])
    _, codes = np.unique(np.stack([types, times]), axis=1, return_inverse=True)
    return codes[: len(known)], codes[len(known) :]


def _against_all(
    model: GNN, h: Tensor, parts: LinkParts, types: Ints, given: Ints, is_head: bool
) -> Tensor:
    """Logits of every node as the end that is asked for, (rows, num_nodes).

    A source is asked for as the destination of the inverse edge, where there are such types.
    """
    assert model.decoder is not None
    rows, back = h[torch.from_numpy(given)], parts.inverse[types]
    if is_head and (back >= 0).all():
        return model.decoder.against(rows, h, torch.from_numpy(back))
    return model.decoder.against(rows, h, torch.from_numpy(types), reverse=is_head)


def _hide_other_types(scores: Tensor, types: Sequence[NodeType], wanted: Ints) -> None:
    """Only nodes of the true end's own type are candidates."""
    if len(types) < 2:
        return
    code = _type_of(types, wanted)
    for i, kind in enumerate(types):
        rows = torch.from_numpy(np.flatnonzero(code == i))
        hidden = torch.ones(scores.shape[1], dtype=torch.bool)
        hidden[kind.start : kind.end] = False
        scores[rows] = scores[rows].masked_fill(hidden, -torch.inf)


def _recommendation(
    model: GNN, h: Tensor, parts: LinkParts, name: str, limit: int | None, seed: int
) -> dict[str, float]:
    """Mean over the users who have an item in this part."""
    assert model.decoder is not None
    links, types = parts.part(name), parts.data.graph.node_types
    item = types[int(_type_of(types, links.dst[:1])[0])]
    seen = [parts.train, parts.val] if name == "test" else [parts.train]
    hidden, wanted = _lists(seen, item), _lists([links], item)
    users = np.unique(links.src)
    if limit is not None and len(users) > limit:
        rng = np.random.default_rng((seed, EVAL_SEED))
        users = np.sort(rng.choice(users, limit, replace=False))
    step, found, ranks = max(1, SCORES_AT_ONCE // max(item.num_nodes, 1)), [], []
    for start in range(0, len(users), step):
        some = users[start : start + step]
        scores = model.decoder.against(h[torch.from_numpy(some)], h[item.start : item.end], None)
        rows, items = hidden.of(some)
        scores[torch.from_numpy(rows), torch.from_numpy(items)] = -torch.inf
        relevant = wanted.of(some)
        found.append(list_metrics(scores, relevant))
        ranks.append(first_ranks(scores, relevant))
    listed = np.concatenate(found).mean(axis=0).tolist()
    return {**dict(zip(LISTED, listed, strict=True)), **rank_metrics(torch.cat(ranks))}


def _lists(links: Sequence[Links], item: NodeType) -> Answers:
    """The items of every user, counted from the first item; edges may be stored either way."""
    src = np.concatenate([part.src for part in links])
    dst = np.concatenate([part.dst for part in links])
    back = (src >= item.start) & (src < item.end)
    users, items = np.where(back, dst, src), np.where(back, src, dst)
    return Answers(users, items - item.start)


def _type_of(types: Sequence[NodeType], nodes: Ints) -> Ints:
    """The place of every node's type."""
    ends = np.array([t.end for t in types])
    return np.searchsorted(ends, nodes, side="right")
