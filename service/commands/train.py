"""`gnn train`: a new version of a model, from a graph with features and labels."""

from __future__ import annotations

import shutil
import tomllib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.commands.options import (
    Debug,
    GraphPath,
    Json,
    Seed,
    Threads,
    parse_fanouts,
    parse_shares,
)
from service.commands.writing import naming_when_full
from service.console import Progress, show

if TYPE_CHECKING:
    from gnn import GNN, TrainConfig
    from gnn.data import Data

__all__ = ["train"]

UNFINISHED = ".training"

Task = Literal["node-classification", "node-regression", "graph-classification", "graph-regression"]
CONVS = (
    "sage", "gcn", "gat", "gatv2", "gin", "gine", "pna", "rgcn", "hgt", "appnp", "sgc",
    "egnn", "transformer", "tgat",
)  # fmt: skip
architecture = partial(typer.Option, rich_help_panel="Architecture")


def conv_named(text: str) -> str:
    """A convolution: a built-in one, or "module:my_models:make_conv" for the user's own."""
    if text not in CONVS and not text.startswith("module:"):
        raise typer.BadParameter(
            f"{text!r} is not one of {', '.join(CONVS)}, nor module:FILE:FUNCTION of your own"
        )
    return text


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of a TOML file as defaults of this command, so that flags override them.

    Every value is read as if it stood on the command line; a list becomes "15,10".
    """
    if path is None:
        return None
    try:
        content = tomllib.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{path} is not TOML: {error}") from None
    known = {p.name for p in context.command.params} - {"config", "graph", "json", "debug"}
    given = {key.replace("-", "_"): value for key, value in content.items()}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise typer.BadParameter(
            f"{path} holds unknown keys: {', '.join(unknown)}; it takes the options of gnn train"
        )
    context.default_map = {key: _as_text(value) for key, value in given.items()}
    return path


def train(
    graph: GraphPath,
    out: Annotated[Path, typer.Option(help="MODELS/NAME; the version is one more than the last.")],
    task: Annotated[Task, typer.Option(help="What to predict.")] = "node-classification",
    model: Annotated[
        str,
        typer.Option(
            parser=conv_named, metavar="CONV", help="Convolution, or module:FILE:FUNCTION for one "
            f"of yours. One of {', '.join(CONVS)}.",
        ),
    ] = "sage",
    aggregator: Annotated[
        Literal["mean", "sum", "max"], architecture(help="How sage reduces a neighborhood.")
    ] = "mean",
    hidden: Annotated[
        int | None, architecture(min=1, help="Width of the hidden rows; by the convolution.")
    ] = None,
    layers: Annotated[
        int | None, architecture(min=1, help="Convolutions, and so hops; by the convolution.")
    ] = None,
    head: Annotated[
        Literal["none", "linear", "mlp"] | None,
        architecture(help="linear, mlp: embeddings of width --hidden; none: of the outputs."),
    ] = None,
    input_norm: Annotated[
        Literal["none", "row"] | None,
        architecture(help="row: divide feature rows by their sum, as for bags of words."),
    ] = None,
    encoder: Annotated[
        Literal["none", "linear", "mlp"] | None,
        architecture(help="A map of the input before the first convolution."),
    ] = None,
    norm: Annotated[
        Literal["none", "layer", "batch", "graph"] | None,
        architecture(help="Normalization between layers; graph for collections."),
    ] = None,
    activation: Annotated[
        Literal["relu", "elu", "leaky_relu", "gelu"] | None,
        architecture(help="Nonlinearity between layers; by the convolution."),
    ] = None,
    residual: Annotated[bool, architecture(help="Add a layer's input to its output.")] = False,
    jumping: Annotated[
        Literal["none", "cat", "max"] | None,
        architecture(help="Embeddings of the rows of every layer (jumping knowledge)."),
    ] = None,
    heads: Annotated[int | None, architecture(min=1, help="Attention heads.")] = None,
    attention_dropout: Annotated[
        float | None, architecture(help="Share of attention coefficients dropped in training.")
    ] = None,
    alpha: Annotated[float | None, architecture(help="Teleport probability of appnp.")] = None,
    readout: Annotated[
        Literal["sum", "mean", "max", "attention", "set2set"] | None,
        architecture(help="Rows of nodes to one row per graph; sum."),
    ] = None,
    pooling: Annotated[
        Literal["none", "topk", "sag"] | None,
        architecture(help="Local pooling between layers, for tasks on graphs; none."),
    ] = None,
    num_bases: Annotated[
        int | None, architecture(min=0, help="Bases that the relations of rgcn share; 0 for none.")
    ] = None,
    dropout: Annotated[
        float | None, architecture(help="Share of inputs dropped in training.")
    ] = None,
    fanouts: Annotated[
        str | None,
        typer.Option(help="Neighbors per layer, first layer first; by the convolution."),
    ] = None,
    eval_fanouts: Annotated[
        str | None, typer.Option(help="The same for validation on graphs too large to be exact.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training nodes; by the convolution.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Training nodes per step; by the size of the graph.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate; by the convolution.")] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Strength of the L2 penalty; by the convolution.")
    ] = None,
    weight_decay_layers: Annotated[
        Literal["all", "first"] | None,
        typer.Option(help="Which layers are penalized; by the convolution."),
    ] = None,
    optimizer: Annotated[Literal["adam", "adamw"], typer.Option(help="Optimizer.")] = "adam",
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better score before it stops.")
    ] = None,
    monitor: Annotated[
        str | None, typer.Option(help="Validation metric that chooses the best epoch, or none.")
    ] = None,
    class_weights: Annotated[
        Literal["none", "balanced"], typer.Option(help="balanced: rare classes weigh more.")
    ] = "none",
    split_index: Annotated[int, typer.Option(min=0, help="Which split, if several.")] = 0,
    split: Annotated[
        str, typer.Option(help="Shares of train, val, test where the graph has no split.")
    ] = "0.6,0.2,0.2",
    max_train_seeds: Annotated[
        int | None, typer.Option(help="Train on at most this many nodes, chosen at random.")
    ] = None,
    seed: Seed = 0,
    threads: Threads = None,
    config: Annotated[
        Path | None,
        typer.Option(
            callback=read_config, is_eager=True, exists=True, dir_okay=False,
            help="TOML file with any of these options; flags override it.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a training that was killed.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Train a model and write it to MODELS/NAME/<version>/."""
    from gnn import TrainConfig
    from gnn.architecture import architecture_for
    from gnn.checkpoint import check_name
    from gnn.data import open_data
    from gnn.recipes import recipe_for

    check_name(out.name)
    data = open_data(graph)
    recipe = recipe_for(model, data, layers, task)
    chosen_training = {
        "epochs": epochs,
        "batch_size": batch_size,
        "fanouts": _layers(fanouts),
        "lr": lr,
        "weight_decay": weight_decay,
        "weight_decay_layers": weight_decay_layers,
        "patience": patience,
    }
    chosen_model = {
        "aggregator": aggregator,
        "d_hidden": hidden,
        "num_layers": layers,
        "dropout": dropout,
        "head": head,
        "input_norm": input_norm,
        "encoder": encoder,
        "norm": norm,
        "activation": activation,
        "residual": residual or None,
        "jumping": jumping,
        "heads": heads,
        "attention_dropout": attention_dropout,
        "alpha": alpha,
        "num_bases": num_bases,
        "readout": readout,
        "pooling": pooling,
    }
    training = TrainConfig(
        **recipe.train | _given(chosen_training),
        task=task,
        optimizer=optimizer,
        monitor=monitor,
        class_weights=class_weights,
        seed=seed,
        split_index=split_index,
        split=parse_shares(split),
        eval_fanouts=_layers(eval_fanouts),
        max_train_seeds=max_train_seeds,
        num_threads=threads,
    )
    built = architecture_for(task, data, recipe, _given(chosen_model))
    show(run_training(data, built, training, out, resume), json)


def run_training(
    data: Data, architecture: Any, training: TrainConfig, out: Path, resume: bool = False
) -> dict[str, Any]:
    """Train, measure, save; returns what `gnn train --json` prints."""
    import torch

    from gnn import build_model, model_info, save_model
    from gnn import train as training_epochs

    torch.manual_seed(training.seed)
    model = build_model(architecture)
    unfinished = out / UNFINISHED
    report = None
    with Progress("epochs") as progress:
        for report in training_epochs(model, data, training, resume_dir=unfinished, resume=resume):
            progress.update("train", report.epoch, report.num_epochs, _detail(report))
    metrics = measure(model, data, training)
    with naming_when_full(out):
        path = save_model(out, model, data, training, metrics)
    shutil.rmtree(unfinished, ignore_errors=True)
    info = model_info(path)
    return {
        "model": info.name,
        "version": info.version,
        "path": str(path),
        "task": training.task,
        "metrics": metrics,
        "epochs": report.epoch if report else training.epochs,
        "best_epoch": report.best_epoch if report else None,
    }


def measure(model: GNN, data: Data, training: TrainConfig) -> dict[str, dict[str, float]]:
    """All metrics of every part that has labeled nodes."""
    from gnn.evaluate import evaluate_parts

    return evaluate_parts(
        model,
        data,
        task=training.task,
        fanouts=training.eval_fanouts,
        num_threads=training.num_threads,
        split_index=training.split_index,
        split=training.split,
        seed=training.seed,
    )


def _detail(report: Any) -> str:
    val = " ".join(f"{k} {v:.4f}" for k, v in report.metrics["val"].items() if k != "loss")
    rate = f"{report.edges_per_s / 1e6:.2f} M edges/s"
    return f"loss {report.loss:.4f}, val {val or '-'}, best {report.best_epoch}, {rate}"


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that the user set; the recipe has the others."""
    return {name: value for name, value in options.items() if value is not None}


def _layers(fanouts: str | None) -> tuple[int, ...] | None:
    return None if fanouts is None else tuple(parse_fanouts(fanouts))


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(v) for v in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
