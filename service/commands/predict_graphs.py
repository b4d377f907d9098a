"""`gnn predict` on a collection: what a model says of whole graphs, by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from service.commands.node_ids import parse_ids
from service.console import Progress

if TYPE_CHECKING:
    from gnn import SavedModel
    from sampling import GraphCollection

__all__ = ["predict_graphs"]

GRAPHS_PER_BATCH = 256


def predict_graphs(
    saved: SavedModel, data: GraphCollection, texts: list[str], include: Sequence[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the answers have in common, and one entry per id, in the order asked.

    Raises:
        UnknownNodeError: an id is not in the collection.
        SchemaMismatchError: the model cannot read it.
        NotCalibratedError: prediction sets are asked for, and the model has none.
    """
    import torch

    from gnn.graph_evaluate import check_collection, graph_inputs
    from gnn.tasks import outputs
    from sampling import GraphLoader
    from sampling.errors import UnknownNodeError
    from service.graph_predictor import check_include, graph_entries

    check_collection(saved.model, data)
    check_include(saved, include)
    ids = parse_ids(data.ids, texts)
    rows_of = data.ids.find(ids)
    if (rows_of < 0).any():
        raise UnknownNodeError([key for key, row in zip(ids, rows_of, strict=True) if row < 0])
    loader = GraphLoader(data, rows_of, GRAPHS_PER_BATCH)
    entries: list[dict[str, Any]] = []
    with Progress("graphs") as progress, torch.inference_mode():
        for batch in loader:
            blocks, x = graph_inputs(saved.model, batch)
            rows = saved.model.encode_graphs(blocks[0], x)
            answers = outputs(saved.info.task, saved.model.head(rows)).numpy()
            entries += graph_entries(saved, answers, rows, include)
            progress.update("predict", len(entries), len(ids))
    about = {"model": saved.info.name, "model_version": saved.info.version}
    return about, [{"graph": key, **entry} for key, entry in zip(ids, entries, strict=True)]
