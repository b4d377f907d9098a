"""`gnn train`: a new version of a model, from a graph with features and labels."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.commands.options import (
    Debug,
    Device,
    GraphPath,
    Json,
    Seed,
    Threads,
    parse_fanouts,
    parse_shares,
)
from service.commands.writing import naming_when_full
from service.console import Progress, note, show

if TYPE_CHECKING:
    from gnn import TrainConfig
    from gnn.data import Data

__all__ = ["train"]

UNFINISHED = ".training"

Task = Literal[
    "node-classification",
    "node-regression",
    "graph-classification",
    "graph-regression",
    "link-prediction",
    "unsupervised",
]
CONVS = (
    "sage", "gcn", "gat", "gatv2", "gin", "gine", "pna", "rgcn", "hgt", "appnp", "sgc",
    "egnn", "transformer", "tgat", "lightgcn", "identity",
)  # fmt: skip
architecture = partial(typer.Option, rich_help_panel="Architecture")
optimization = partial(typer.Option, rich_help_panel="Optimization")


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
        Literal["mean", "sum", "max", "weighted", "gcn"],
        architecture(
            help="How sage reduces a neighborhood; weighted: to the mean by edge weight; gcn: to "
            "the mean of a node and its neighbors, under one map."
        ),
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
        Literal["none", "row", "column"] | None,
        architecture(
            help="row: divide feature rows by their sum, as for bags of words; column: bring every "
            "feature to mean 0 and deviation 1."
        ),
    ] = None,
    encoder: Annotated[
        Literal["none", "linear", "mlp"] | None,
        architecture(help="A map of the input before the first convolution."),
    ] = None,
    norm: Annotated[
        Literal["none", "layer", "batch", "graph"] | None,
        architecture(help="Normalization between layers; graph for collections."),
    ] = None,
    norm_first: Annotated[
        bool,
        architecture(
            help="Normalize what a layer reads instead of what it gives; with --norm layer or "
            "batch."
        ),
    ] = False,
    activation: Annotated[
        Literal["relu", "elu", "leaky_relu", "gelu"] | None,
        architecture(help="Nonlinearity between layers; by the convolution."),
    ] = None,
    residual: Annotated[bool, architecture(help="Add a layer's input to its output.")] = False,
    residual_map: Annotated[
        bool, architecture(help="Add a learned linear map of a layer's input to its output.")
    ] = False,
    jumping: Annotated[
        Literal["none", "cat", "max", "mean"] | None,
        architecture(help="Embeddings of the rows of every layer (jumping knowledge)."),
    ] = None,
    heads: Annotated[int | None, architecture(min=1, help="Attention heads.")] = None,
    out_heads: Annotated[
        int | None,
        architecture(min=1, help="Heads of gat and gatv2 averaged where they give the outputs."),
    ] = None,
    attention_dropout: Annotated[
        float | None, architecture(help="Share of attention coefficients dropped in training.")
    ] = None,
    message_dropout: Annotated[
        float | None, architecture(help="Share of what gat sends that is dropped in training.")
    ] = None,
    alpha: Annotated[float | None, architecture(help="Teleport probability of appnp.")] = None,
    readout: Annotated[
        Literal["sum", "mean", "max", "attention", "set2set"] | None,
        architecture(help="Rows of nodes to one row per graph; sum."),
    ] = None,
    pooling: Annotated[
        Literal["none", "topk", "sag", "matching"] | None,
        architecture(help="Local pooling between layers, for tasks on graphs; none."),
    ] = None,
    virtual_node: Annotated[
        bool,
        architecture("--virtual-node", help="A node per graph that hears all and speaks to all."),
    ] = False,
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
    lr_schedule: Annotated[
        Literal["constant", "cosine", "step", "plateau"],
        optimization(help="How the learning rate goes on."),
    ] = "constant",
    lr_every: Annotated[
        int, optimization(min=1, help="Epochs between steps, or without a better score.")
    ] = 10,
    lr_factor: Annotated[
        float, optimization(help="What a step or a plateau multiplies the rate by.")
    ] = 0.5,
    lr_warmup: Annotated[
        int, optimization(min=0, help="Steps over which the rate first rises.")
    ] = 0,
    max_grad_norm: Annotated[
        float | None, optimization(help="Longer gradients are scaled down to this norm.")
    ] = None,
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
    balanced_seeds: Annotated[
        bool, optimization(help="Train on every class equally often per epoch.")
    ] = False,
    focal_gamma: Annotated[
        float, optimization(help="Rows that are already right count less (focal loss); 0: not.")
    ] = 0.0,
    label_smoothing: Annotated[
        float, optimization(help="Share of every label spread over all classes.")
    ] = 0.0,
    conformal_alpha: Annotated[
        float, typer.Option(help="How often label sets of a classifier may miss the label.")
    ] = 0.1,
    split_index: Annotated[int, typer.Option(min=0, help="Which split, if several.")] = 0,
    split: Annotated[
        str | None,
        typer.Option(
            help="Shares of train, val, test where the graph has no split; 0.6,0.2,0.2 of nodes, "
            "0.8,0.1,0.1 of edges, 0.7,0.15,0.15 in order of time."
        ),
    ] = None,
    max_train_seeds: Annotated[
        int | None, typer.Option(help="Train on at most this many nodes, chosen at random.")
    ] = None,
    decoder: Annotated[
        Literal["dot", "distmult", "bilinear", "mlp", "hadamard"] | None,
        architecture(help="Scores of pairs; distmult with edge types, dot without."),
    ] = None,
    link_loss: Annotated[
        Literal["auto", "bce", "bpr", "softmax"],
        typer.Option(help="Of link-prediction; auto: softmax with edge types, bpr for items."),
    ] = "auto",
    num_negatives: Annotated[
        int | None,
        typer.Option(min=0, help="Negatives per edge; of softmax candidates per step, 0 for all."),
    ] = None,
    n3_decay: Annotated[
        float,
        optimization(help="Strength of the N3 penalty on the factors of predicted edges."),
    ] = 0.0,
    temperature: Annotated[
        float | None,
        optimization(help="The loss of decoder dot reads cosines over this; 0.1 as a start."),
    ] = None,
    keep_targets: Annotated[
        bool,
        typer.Option("--keep-targets", help="Edges stay messages while they are predicted."),
    ] = False,
    temporal: Annotated[
        bool,
        typer.Option(
            "--temporal",
            help="Respect time: predict edges and nodes at their times, from earlier edges alone.",
        ),
    ] = False,
    strategy: Annotated[
        Literal["recent", "uniform"],
        typer.Option(help="Which earlier neighbors --temporal draws: the latest, or any."),
    ] = "recent",
    objective: Annotated[
        Literal["sage", "dgi"], typer.Option(help="Of unsupervised: random walks, or infomax.")
    ] = "sage",
    seed: Seed = 0,
    threads: Threads = None,
    device: Device = "auto",
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        optimization(help="What dense maps read in training; sums and losses are float32."),
    ] = "float32",
    config: Annotated[
        Path | None,
        typer.Option(
            callback=read_config, is_eager=True, exists=True, dir_okay=False,
            help="TOML file with any of these options; flags override it.",
        ),
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="Write every epoch to tensorboard:DIRECTORY or mlflow:URI.")
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
    from gnn.data import open_data
    from gnn.distributed import joined
    from gnn.model_paths import check_name
    from gnn.starting import starting_recipe

    check_name(out.name)
    data = open_data(graph)
    recipe = starting_recipe(task, model, data, layers, temporal=temporal)
    chosen_training = {
        "epochs": epochs,
        "batch_size": batch_size,
        "fanouts": _layers(fanouts),
        "lr": lr,
        "weight_decay": weight_decay,
        "weight_decay_layers": weight_decay_layers,
        "patience": patience,
        "num_negatives": num_negatives,
        "exclude_targets": False if keep_targets else None,
        "split": None if split is None else parse_shares(split, "--split"),
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
        "norm_first": norm_first or None,
        "activation": activation,
        "residual": residual or None,
        "residual_map": residual_map or None,
        "jumping": jumping,
        "heads": heads,
        "out_heads": out_heads,
        "attention_dropout": attention_dropout,
        "message_dropout": message_dropout,
        "alpha": alpha,
        "num_bases": num_bases,
        "readout": readout,
        "pooling": pooling,
        "virtual_node": virtual_node or None,
        "decoder": decoder,
    }
    training = TrainConfig(
        **recipe.train | _given(chosen_training),
        task=task,
        optimizer=optimizer,
        monitor=monitor,
        class_weights=class_weights,
        balanced_seeds=balanced_seeds,
        focal_gamma=focal_gamma,
        label_smoothing=label_smoothing,
        conformal_alpha=conformal_alpha,
        lr_schedule=lr_schedule,
        lr_every=lr_every,
        lr_factor=lr_factor,
        lr_warmup=lr_warmup,
        max_grad_norm=max_grad_norm,
        seed=seed,
        split_index=split_index,
        temporal=temporal,
        strategy=strategy,
        link_loss=link_loss,
        n3_decay=n3_decay,
        temperature=temperature,
        objective=objective,
        eval_fanouts=_layers(eval_fanouts),
        max_train_seeds=max_train_seeds,
        num_threads=threads,
        device=device,
        precision=precision,
    )
    built = architecture_for(task, data, recipe, _given(chosen_model))
    with joined() as ranks:
        result = run_training(data, built, training, out, resume, log)
        if ranks.writes:
            show(result, json)
        ranks.wait()


def run_training(
    data: Data,
    architecture: Any,
    training: TrainConfig,
    out: Path,
    resume: bool = False,
    log: str | None = None,
) -> dict[str, Any]:
    """Train, measure, certify, save; returns what `gnn train --json` prints."""
    import torch

    from gnn import build_model, certify, model_info, save_model
    from gnn import train as training_epochs
    from gnn.distributed import Ranks
    from gnn.measure import measure
    from gnn.tracking import tracking

    torch.manual_seed(training.seed)
    model = build_model(architecture)
    unfinished = out / UNFINISHED
    if resume and not unfinished.exists():
        note(f"there is no unfinished training in {out}; a new one begins")
    report = None
    if not Ranks.current().writes:
        for _ in training_epochs(model, data, training, resume_dir=unfinished, resume=resume):
            pass
        return {}
    with tracking(log, out.name, asdict(training)) as log_of, Progress("epochs") as progress:
        for report in training_epochs(model, data, training, resume_dir=unfinished, resume=resume):
            progress.update("train", report.epoch, report.num_epochs, _detail(report))
            log_of.epoch(report)
        measured = measure(model, data, training)
        log_of.final(measured.metrics)
    certificate = certify(model, data, seed=training.seed, num_threads=training.num_threads)
    with naming_when_full(out):
        path = save_model(
            out,
            model,
            data,
            training,
            measured,
            certificate=certificate,
            history=report.history if report else (),
        )
    shutil.rmtree(unfinished, ignore_errors=True)
    info = model_info(path)
    return {
        "model": info.name,
        "version": info.version,
        "path": str(path),
        "task": training.task,
        "metrics": measured.metrics,
        **({"targets": measured.targets} if measured.targets else {}),
        "certified": certificate.passed,
        "epochs": report.epoch if report else training.epochs,
        "best_epoch": report.best_epoch if report else None,
    }


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
