"""What is run for the table of results: data set, commands, and the published figure.

Typed, temporal and link tasks stand in `link_experiments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["EXPERIMENTS", "Experiment"]


@dataclass(frozen=True)
class Experiment:
    """One row of the table.

    Attributes:
        data: name of the data set.
        model: what is trained.
        published: the figure to reach.
        source: where it stands.
        ingest: arguments of `gnn` per graph that they make; `{data}` is the data set's folder.
        train: arguments of `gnn train`; a name of `ingest` is that graph.
        metric: key of the test metrics.
        runs: how often.
        varies: the option that counts the runs.
        scale: factor of the metric.
        digits: behind the point.
        tested_on: other graphs of `ingest` that are measured, each a row of its own, and the
            figure to reach there.
        variant: what tells it from other experiments on the same data with the same model.
        prepare: arguments of Python that write what is ingested to `{work}`, before the rest.
    """

    data: str
    model: str
    published: str
    source: str
    ingest: dict[str, tuple[str, ...]]
    train: tuple[str, ...]
    metric: str = "accuracy"
    runs: int = 10
    varies: str = "--seed"
    scale: float = 100.0
    digits: int = 1
    tested_on: dict[str, str] = field(default_factory=dict)
    variant: str = ""
    prepare: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.data}/{self.model}{self.variant}"

    @property
    def rows(self) -> list[str]:
        """Names of the rows of the table that a run gives a figure for."""
        return [f"{graph}/{self.model}" for graph in self.tested_on] or [self.name]

    def filled(self, arguments: Sequence[str], data: Path, work: Path) -> list[str]:
        """Arguments with real paths."""
        graphs = {name: str(work / name) for name in self.ingest}
        places = {"{data}": str(data / self.data), "{work}": str(work)}
        return [graphs.get(a, _with(places, a)) for a in arguments]

    def shown(self, arguments: Sequence[str]) -> list[str]:
        """Arguments as a reader types them."""
        return [_with({"{data}": self.data, "{work}/": ""}, a) for a in arguments]


def _with(places: dict[str, str], argument: str) -> str:
    for name, path in places.items():
        argument = argument.replace(name, path)
    return argument


NODES = "--task", "node-classification"
SPARSE = "--sparse-features", "yes"


def planetoid(data: str, suffix: str) -> dict[str, tuple[str, ...]]:
    return {
        data: (
            "ingest", "--edges", f"{{data}}/edges.{suffix}", "--nodes", f"{{data}}/nodes.{suffix}",
            "--features", "{data}/features.npz", "--undirected",
        )
    }  # fmt: skip


CITATIONS = {"cora": "csv.gz", "citeseer": "parquet", "pubmed": "parquet"}
PUBLISHED = {
    ("cora", "gcn"): "81.5", ("citeseer", "gcn"): "70.3", ("pubmed", "gcn"): "79.0",
    ("cora", "gat"): "83.0 ± 0.7", ("citeseer", "gat"): "72.5 ± 0.7",
    ("pubmed", "gat"): "79.0 ± 0.3, 78.0 (DGL)", ("cora", "sage"): "83.3",
    ("cora", "appnp"): "83.3 ± 0.5", ("cora", "sgc"): "81.0 ± 0.0",
    ("citeseer", "appnp"): "71.8 ± 0.5", ("pubmed", "appnp"): "80.1 ± 0.2",
    ("citeseer", "sgc"): "71.9 ± 0.1", ("pubmed", "sgc"): "78.9 ± 0.0",
}  # fmt: skip
SOURCES = {
    "gcn": "Kipf, Welling 2017",
    "gat": "Veličković et al. 2018",
    "sage": "DGL example, full graph",
    "appnp": "Klicpera et al. 2019; Fey, Lenssen 2019",
    "sgc": "Wu et al. 2019",
}
FULL = "--epochs", "200", "--batch-size", "1000000", "--fanouts", "-1,-1"
BESIDE_RECIPES = {"sage": FULL, "appnp": ("--dropout", "0.8")}
EXPERIMENTS = [
    Experiment(
        data, model, figure, SOURCES[model], planetoid(data, CITATIONS[data]),
        (data, *NODES, "--model", model, *BESIDE_RECIPES.get(model, ())),
    )
    for (data, model), figure in PUBLISHED.items()
]  # fmt: skip

JOINED = "--model", "sage", "--aggregator", "gcn", "--weight-decay", "5e-4"
"""One map for a node and its neighbors, and a penalty, as DGL's example has them."""
EXPERIMENTS += [
    Experiment(
        data, "sage", figure, SOURCES["sage"], planetoid(data, CITATIONS[data]),
        (data, *NODES, *JOINED, *FULL), variant="+gcn-aggregator",
    )
    for data, figure in (("cora", "83.3"), ("pubmed", "78.3"))
]  # fmt: skip

AUTHORS = "--out-heads", "8", "--lr", "0.01", "--weight-decay", "0.001"
"""What GAT's authors give PubMed, beside the recipe."""
EXPERIMENTS += [
    Experiment(
        "pubmed",
        "gat",
        PUBLISHED["pubmed", "gat"],
        SOURCES["gat"],
        planetoid("pubmed", "parquet"),
        ("pubmed", *NODES, "--model", "gat", *AUTHORS),
        variant="+8-output-heads",
    )
]

SHCHUR = "Shchur et al. 2018"
AMAZON = {
    "amazon_computers": (
        "ingest", "--edges", "{data}/amazon_electronics_computers.npz", "--splits",
        "{data}/splits.npz", "--undirected",
    )
}  # fmt: skip
COAUTHORS = {
    data: {
        data: (
            "ingest", "--edges", f"{{data}}/edges.{suffix}", "--nodes", f"{{data}}/nodes.{suffix}",
            "--features", "{data}/features.npz", "--splits", "{data}/splits.npz", "--undirected",
            *SPARSE,
        )
    }
    for data, suffix in (("coauthor_cs", "csv.gz"), ("coauthor_physics", "parquet"))
}  # fmt: skip
EXPERIMENTS += [
    Experiment(
        data,
        model,
        figure,
        SHCHUR,
        AMAZON if data in AMAZON else COAUTHORS[data],
        (data, *NODES, "--model", model),
        varies="--split-index",
    )
    for data, model, figure in (
        ("amazon_computers", "gcn", "82.6 ± 2.4"),
        ("amazon_computers", "sage", "82.4 ± 1.8"),
        ("amazon_computers", "gat", "78.0 ± 19.0"),
        ("coauthor_cs", "gcn", "91.1 ± 0.5"),
        ("coauthor_cs", "sage", "91.3 ± 2.8"),
        ("coauthor_cs", "gat", "90.5 ± 0.6"),
        ("coauthor_physics", "gcn", "92.8 ± 1.0"),
        ("coauthor_physics", "sage", "93.0 ± 0.8"),
        ("coauthor_physics", "gat", "92.5 ± 0.9"),
    )
]

PLATONOV = "Platonov et al. 2023"
WHOLE = "--encoder", "linear", "--head", "linear", "--batch-size", "1000000", "--input-norm", "none"
DEEP = (
    *WHOLE, "--layers", "5", "--hidden", "128", "--norm", "layer", "--residual", "--dropout", "0.2",
    "--lr", "0.003", "--weight-decay", "0", "--fanouts", "-1,-1,-1,-1,-1",
)  # fmt: skip
FIRST = "--norm-first", "--activation", "gelu"
LONG = "--epochs", "400", "--patience", "100", "--monitor", "roc_auc"
SHORT = "--epochs", "200", "--patience", "50"
ALL_HEARD = "--attention-dropout", "0"
SMALL = (
    *WHOLE, "--layers", "2", "--hidden", "128", "--norm", "layer", "--residual", "--dropout", "0.5",
    "--lr", "0.003", "--weight-decay", "0.001", "--fanouts", "-1,-1", *SHORT,
)  # fmt: skip
EXPERIMENTS += [
    Experiment(
        data, model, figure, PLATONOV,
        {data: ("ingest", "--edges", f"{{data}}/{data}.npz", "--undirected")},
        (data, *NODES, "--model", model, *settings),
        metric, varies="--split-index",
    )
    for data, model, figure, metric, settings in (
        ("minesweeper", "gcn", "89.75 ± 0.52", "roc_auc", (*DEEP, *FIRST, *LONG)),
        ("minesweeper", "sage", "93.51 ± 0.57", "roc_auc", (*DEEP, *LONG)),
        ("minesweeper", "gat", "92.01 ± 0.68", "roc_auc",
         (*DEEP, *FIRST, *LONG, *ALL_HEARD, "--message-dropout", "0")),
        ("minesweeper", "transformer", "91.85 ± 0.76", "roc_auc",
         (*DEEP, *FIRST, *LONG, *ALL_HEARD)),
        ("chameleon_filtered", "gcn", "40.89 ± 4.12", "accuracy", SMALL),
        ("chameleon_filtered", "sage", "37.77 ± 4.14", "accuracy", SMALL),
        ("chameleon_filtered", "gat", "39.21 ± 3.08", "accuracy", SMALL),
        ("squirrel_filtered", "gcn", "39.47 ± 1.47", "accuracy", (*DEEP, *FIRST, *SHORT)),
        ("squirrel_filtered", "sage", "36.09 ± 1.99", "accuracy", SMALL),
        ("squirrel_filtered", "gat", "35.62 ± 2.06", "accuracy", SMALL),
    )
]  # fmt: skip

OWN = "floor, own split"
EXPERIMENTS += [
    Experiment(
        "facebook_pagepage", model, "91.7 (label propagation)", OWN,
        {
            "facebook_pagepage": (
                "ingest", "--edges", "{data}/edges.csv.gz", "--nodes", "{data}/nodes.csv.gz",
                "--features", "{data}/features.npz", "--undirected", *SPARSE,
            )
        },
        ("facebook_pagepage", *NODES, "--model", model), runs=3,
    )
    for model in ("sage", "gcn")
]  # fmt: skip
EXPERIMENTS += [
    Experiment(
        "reddit_anomaly", "gcn", "70.8 (logistic regression)", "floor",
        {
            "reddit_anomaly": (
                "ingest", "--edges", "{data}/edges.parquet", "--nodes", "{data}/nodes.parquet",
                "--features", "{data}/features.npy",
            )
        },
        ("reddit_anomaly", *NODES, "--model", "gcn", "--class-weights", "balanced", "--monitor",
         "roc_auc"),
        "roc_auc", runs=3,
    ),
    Experiment(
        "nell", "gcn", "66.0", "Kipf, Welling 2017",
        {
            "nell": (
                "ingest", "--edges", "{data}/edges.parquet", "--nodes", "{data}/nodes.parquet",
                "--features", "{data}/features.npz", "--undirected",
            )
        },
        ("nell", *NODES, "--model", "gcn", "--hidden", "64", "--dropout", "0.1", "--weight-decay",
         "1e-5", "--monitor", "none"),
        runs=5,
    ),
]  # fmt: skip


def country(name: str, shares: str) -> tuple[str, ...]:
    return (
        "ingest", "--edges", f"{{data}}/{name}_edges.csv.gz", "--nodes",
        f"{{data}}/{name}_nodes.csv.gz", "--features", f"{{data}}/{name}_features.npz",
        "--undirected", *SPARSE, "--random-split", shares,
    )  # fmt: skip


TWITCH = {"twitch_engb": "63.7", "twitch_es": "66.6", "twitch_fr": "63.6"}
EXPERIMENTS += [
    Experiment(
        "twitch", model, "", "floor, logistic regression",
        {
            "twitch_de": country("DE", "0.8,0.2,0"),
            **{graph: country(graph[7:].upper(), "0,0,1") for graph in TWITCH},
        },
        ("twitch_de", *NODES, "--model", model, "--monitor", "roc_auc"),
        "roc_auc", runs=3, tested_on=TWITCH,
    )
    for model in ("gcn", "sage")
]  # fmt: skip

GRAPHS = "--task", "graph-classification"
ERRICA = "Errica et al. 2020, GIN"


def tables(data: str, edges: str, graphs: str, *more: str) -> dict[str, tuple[str, ...]]:
    return {
        data: (
            "ingest-graphs", "--format", "tables", "--graphs", f"{{data}}/graphs.{graphs}",
            "--edges", f"{{data}}/edges.{edges}", "--undirected", *more,
        )
    }  # fmt: skip


FOLDS = {
    "mutag": (
        tables("mutag", "csv.gz", "csv.gz", "--nodes", "{data}/nodes.csv.gz"),
        "89.4 ± 5.6", "Xu et al. 2019, GIN",
    ),
    "proteins": (
        tables("proteins", "parquet", "parquet", "--nodes", "{data}/nodes.parquet"),
        "73.3 ± 4.0", ERRICA,
    ),
    "imdb_binary": (
        tables("imdb_binary", "csv.gz", "csv.gz", "--degree-features", "135"),
        "71.2 ± 3.9", ERRICA,
    ),
    "dd": (
        tables("dd", "parquet", "parquet", "--nodes", "{data}/nodes.parquet"),
        "75.3 ± 2.9", ERRICA,
    ),
    "enzymes_tu": (
        {
            "enzymes_tu": (
                "ingest-graphs", "{data}/ENZYMES.zip", "--format", "tu", "--folds", "10",
            )
        },
        "59.6 ± 4.5", ERRICA,
    ),
    "reddit_binary": (
        tables("reddit_binary", "parquet", "parquet", "--degree-features", "64"),
        "89.9 ± 1.9", ERRICA,
    ),
    "collab": (
        tables("collab", "parquet", "parquet", "--degree-features", "135"), "75.6 ± 2.3", ERRICA,
    ),
}  # fmt: skip
LARGE = {
    "dd": ("--dropout", "0.5", "--batch-size", "16", "--epochs", "40", "--patience", "40"),
    "reddit_binary": (
        "--readout", "mean", "--batch-size", "16", "--lr-schedule", "cosine", "--epochs", "25",
        "--patience", "25",
    ),
    "collab": ("--batch-size", "32", "--epochs", "20"),
}  # fmt: skip
"""Few passes in small batches, where a fold takes minutes."""
EXPERIMENTS += [
    Experiment(data, "gin", figure, source, ingest,
               (data, *GRAPHS, "--model", "gin", *LARGE.get(data, ())), varies="--split-index")
    for data, (ingest, figure, source) in FOLDS.items()
]  # fmt: skip

OGB = "Hu et al. 2020, GIN"
OGB_VIRTUAL = "Hu et al. 2020, GIN and virtual node"
REAL, SCORED = ("rmse", 1.0, 3, ()), ("roc_auc", 100.0, 1, ("--monitor", "roc_auc"))
EXPERIMENTS += [
    Experiment(
        data, "gine", figure, OGB_VIRTUAL if virtual else OGB,
        tables(data, "parquet", "csv.gz", "--nodes", "{data}/nodes.parquet"),
        (data, "--task", f"graph-{task}", "--model", "gine",
         *(("--virtual-node",) if virtual else ()), *monitor),
        metric, scale=scale, digits=digits, variant="+virtual-node" if virtual else "",
    )
    for data, virtual, figure, task, (metric, scale, digits, monitor) in (
        ("esol", False, "1.173 ± 0.057", "regression", REAL),
        ("esol", True, "0.998 ± 0.066", "regression", REAL),
        ("freesolv", False, "2.755 ± 0.349", "regression", REAL),
        ("freesolv", True, "2.151 ± 0.295", "regression", REAL),
        ("bbbp", False, "68.2 ± 1.5", "classification", SCORED),
        ("bbbp", True, "69.7 ± 1.9", "classification", SCORED),
        ("hiv", False, "75.6 ± 1.4", "classification",
         ("roc_auc", 100.0, 1, ("--monitor", "roc_auc", "--epochs", "20"))),
    )
]  # fmt: skip
