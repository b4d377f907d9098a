"""`gnn evaluate`: the metrics again, from the saved model."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from service.commands.options import (
    AllowModules,
    Debug,
    Device,
    GraphPath,
    Json,
    ModelPath,
    Threads,
    parse_fanouts,
)
from service.console import show

__all__ = ["evaluate"]


def evaluate(
    graph: GraphPath,
    model: ModelPath,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Which part to measure.")
    ] = "test",
    split_index: Annotated[
        int | None, typer.Option(min=0, help="Which split; the one of training when left out.")
    ] = None,
    exact: Annotated[
        bool | None,
        typer.Option("--exact/--sampled", help="All neighbors, or samples; by the graph's size."),
    ] = None,
    fanouts: Annotated[
        str | None, typer.Option(help="Neighbors per layer on graphs too large to be exact.")
    ] = None,
    allow_modules: AllowModules = None,
    threads: Threads = None,
    device: Device = "auto",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a saved model on one part of a graph's labeled nodes."""
    from gnn import load_model
    from gnn.brought import module_names
    from gnn.data import open_data
    from gnn.device import chosen_device
    from gnn.evaluate import evaluate_with_targets
    from gnn.measure import reading_fanouts

    saved = load_model(model, module_names(allow_modules))
    saved.model.to(chosen_device(device))
    training, data = saved.info.training, open_data(graph)
    if split_index is None:
        split_index = 0 if data.splits is None else training["split_index"]
    metrics, targets = evaluate_with_targets(
        saved.model,
        data,
        split,
        task=saved.info.task,
        split_index=split_index,
        split=training["split"],
        seed=training["seed"],
        exact=exact,
        fanouts=reading_fanouts(training) if fanouts is None else parse_fanouts(fanouts),
        temporal=training.get("temporal", False),
        strategy=training.get("strategy", "recent"),
        num_threads=threads,
    )
    result = {"model": saved.info.name, "version": saved.info.version, "metrics": {split: metrics}}
    show({**result, "targets": {split: targets}} if targets else result, json)
