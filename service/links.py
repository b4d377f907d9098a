"""Scores of node pairs from the embeddings of their ends.

A question about pairs becomes a query about their distinct nodes, which the predictor answers as
any other: from the table where it is fresh, else with all neighbors, so that scores are those of
the evaluation. The decoder then reads two rows per pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from service.errors import LimitError, NonFiniteError, RequestError, WrongTaskError, shown
from service.plan import Id, Plan, Query
from service.registry import ModelRegistry, ServedModel
from service.routing import DEFAULT

if TYPE_CHECKING:
    from service.predictor import Predictor

__all__ = ["LinkMode", "LinkQuery", "default_for_links", "link_entries", "predict_links"]

LinkMode = Literal["auto", "table", "exact"]
LINK_TASK = "link-prediction"
MAX_NAMED = 10


@dataclass(frozen=True, slots=True)
class LinkQuery:
    """What is asked; the fields of the request under the same names.

    Attributes:
        pairs: ids of sources and destinations.
        relation: edge type of all pairs, or one for each; None where there is one.
    """

    pairs: Sequence[Sequence[Id]]
    model: str = "default"
    version: int | None = None
    mode: LinkMode = "auto"
    relation: str | Sequence[str] | None = None

    def of_nodes(self, model: ServedModel, limit: int) -> Query:
        """The query about the distinct nodes.

        Raises:
            WrongTaskError: the model scores no pairs.
            LimitError: there are more nodes than one request may ask about.
        """
        check_scores_links(model)
        ids = list(dict.fromkeys(key for pair in self.pairs for key in pair))
        if len(ids) > limit:
            raise LimitError("distinct nodes of all pairs", limit, len(ids))
        mode = self.mode
        if mode == "auto":
            mode = "exact" if model.table is None else "table"
        return Query(ids, self.model, self.version, mode, ["embedding"])


def default_for_links(registry: ModelRegistry) -> str:
    """The model of a request that names none: the only one that scores links, where there is one
    and the default does not.
    """
    scoring = registry.trained_for(LINK_TASK)
    is_clear = len(scoring) == 1 and registry.route(DEFAULT).model not in scoring
    return scoring[0] if is_clear else DEFAULT


def check_scores_links(model: ServedModel) -> None:
    """Refuse a model of another task: inner products of its rows are no link scores.

    Raises:
        WrongTaskError: it is one.
    """
    task = model.saved.info.task
    if task != LINK_TASK or model.saved.model.decoder is None:
        raise WrongTaskError(model.name, task, LINK_TASK)


def link_entries(query: LinkQuery, plan: Plan, edge_types: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per pair, in the order sent: the pair, its probability and its logit.

    Args:
        query: what was asked.
        plan: of its nodes, with no work left.
        edge_types: names of the graph's edge types, in the order of their codes.

    Raises:
        RequestError: a relation is unknown, or is missing.
        NonFiniteError: a score is NaN or infinite.
    """
    model, place = plan.model, {key: i for i, key in enumerate(plan.ids)}
    relations = _relations(query, model, edge_types)
    if not query.pairs:
        return []
    assert plan.rows is not None, "every node has its row"
    pairs = torch.tensor([[place[a], place[b]] for a, b in query.pairs]).T
    with torch.inference_mode():
        logits = model.saved.model.score(torch.from_numpy(plan.rows), pairs, relations).double()
    if not np.isfinite(logits.numpy()).all():
        raise NonFiniteError(model.name, model.version)
    values = zip(query.pairs, torch.sigmoid(logits).tolist(), logits.tolist(), strict=True)
    return [{"pair": list(pair), "score": p, "logit": logit} for pair, p, logit in values]


def predict_links(predictor: Predictor, query: LinkQuery) -> dict[str, Any]:
    """The answer of `POST /v1/links/predict`, without a queue.

    Raises:
        UnknownNodeError, ServiceError: as `Predictor.predict`, and WrongTaskError.
    """
    model = predictor.registry.get(query.model, query.version)
    plan = predictor.finished(query.of_nodes(model, predictor.settings.max_ids_per_request), model)
    return {
        "model": query.model,
        "model_version": model.version,
        "graph_version": predictor.data.meta.version,
        "scores": link_entries(query, plan, predictor.data.graph.edge_types),
    }


def _relations(
    query: LinkQuery, model: ServedModel, edge_types: Sequence[str]
) -> torch.Tensor | None:
    """The code of every pair's relation; None where the model tells none apart."""
    given = query.relation
    if given is None:
        if model.saved.model.config.num_relations > 1:
            raise RequestError(
                f"model {model.name!r} tells edge types apart; give a relation, one of "
                f"{_named(edge_types)}"
            )
        return None
    names = [given] * len(query.pairs) if isinstance(given, str) else list(given)
    if len(names) != len(query.pairs):
        raise RequestError(f"there are {len(names)} relations for {len(query.pairs)} pairs; give "
                           "one for all, or one for each")  # fmt: skip
    code = {name: i for i, name in enumerate(edge_types)}
    unknown = [name for name in dict.fromkeys(names) if name not in code]
    if unknown:
        raise RequestError(f"there is no relation {shown(unknown[0])}; the graph has "
                           f"{_named(edge_types)}")  # fmt: skip
    return torch.tensor([code[name] for name in names], dtype=torch.long)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(shown(name) for name in names[:MAX_NAMED]) + more
