"""What is run for the table of results on typed, temporal and link tasks."""

from __future__ import annotations

from experiments import NODES, Experiment

__all__ = ["LINK_EXPERIMENTS"]

LINK_EXPERIMENTS = [
    Experiment(
        "college_msg", "tgat", "79.6 (TGAT), 92.3 (TGN)", "Yu et al. 2023",
        {
            "college_msg": (
                "ingest", "--edges", "{data}/CollegeMsg.txt.gz", "--time", "time",
                "--reverse-edges",
            )
        },
        ("college_msg", "--task", "link-prediction", "--temporal", "--model", "tgat"),
        "average_precision", runs=3,
    )
]  # fmt: skip

TYPED = {
    "dblp_hetero": (
        "ingest", *(f for t in ("author", "paper", "term", "venue")
                    for f in ("--nodes", f"{t}={{data}}/{t}.csv.gz")),
        "--edges", "author:writes:paper={data}/author__writes__paper.csv.gz",
        "--edges", "paper:has:term={data}/paper__has__term.csv.gz",
        "--edges", "paper:in:venue={data}/paper__published_in__venue.csv.gz",
        "--id-prefix", "--reverse-edges",
    )
}  # fmt: skip
LINK_EXPERIMENTS += [
    Experiment(
        "dblp_hetero", "rgcn", "91.5", "Lv et al. 2021 (other features)", TYPED,
        ("dblp_hetero", *NODES, "--model", "rgcn", "--hidden", "64", "--layers", "3", "--dropout",
         "0.5", "--epochs", "40", "--patience", "10", "--monitor", "macro_f1"),
        "macro_f1", runs=3,
    ),
    Experiment(
        "dblp_hetero", "hgt", "93.0", "Lv et al. 2021 (other features)", TYPED,
        ("dblp_hetero", *NODES, "--model", "hgt", "--monitor", "macro_f1"),
        "macro_f1", runs=3,
    ),
    Experiment(
        "aifb_rdf", "rgcn", "95.8", "Schlichtkrull et al. 2018",
        {
            "aifb_rdf": (
                "ingest", "--edges", "{data}/aifb_stripped.nt.gz", "--literals", "keep",
                "--reverse-edges", "--nodes", "{data}/labels.csv.gz", "--id", "entity",
                "--on-dangling", "create",
            )
        },
        ("aifb_rdf", *NODES, "--model", "rgcn", "--hidden", "32", "--monitor", "none"),
    ),
]  # fmt: skip

LINKS = "--task", "link-prediction"


def triples(data: str) -> dict[str, tuple[str, ...]]:
    return {
        data: (
            "ingest", "--header", "src,type,dst", "--edges", "{data}/train.txt.gz", "--val-edges",
            "{data}/valid.txt.gz", "--test-edges", "{data}/test.txt.gz", "--reverse-edges",
            "--id-type", "string",
        )
    }  # fmt: skip


LINK_EXPERIMENTS += [
    Experiment(
        "fb15k237", "identity", "24 (DistMult), 35.5 (CompGCN)", "Vashishth et al. 2020",
        triples("fb15k237"), ("fb15k237", *LINKS, "--model", "identity", "--epochs", "6"), "mrr",
        runs=1,
    ),
    Experiment(
        "fb15k237", "rgcn", "24.9 (R-GCN), 24.0 (DGL's)", "Schlichtkrull et al. 2018",
        triples("fb15k237"), ("fb15k237", *LINKS, "--model", "rgcn", "--epochs", "6"), "mrr",
        runs=1,
    ),
    Experiment(
        "wn18rr", "identity", "43 (DistMult), 47.9 (CompGCN)", "Vashishth et al. 2020",
        triples("wn18rr"),
        ("wn18rr", *LINKS, "--model", "identity", "--hidden", "200", "--dropout", "0.3",
         "--n3-decay", "0.01", "--num-negatives", "1024", "--lr", "0.02", "--batch-size", "1024",
         "--epochs", "8"),
        "mrr", runs=2,
    ),
    Experiment(
        "ogbl_ddi", "sage", "53.9 ± 4.7", "Hu et al. 2020",
        {
            "ogbl_ddi": (
                "ingest", "--edges", "{data}/edges.parquet", "--val-negatives",
                "{data}/negatives.parquet", "--test-negatives", "{data}/negatives.parquet",
                "--undirected",
            )
        },
        ("ogbl_ddi", *LINKS, "--model", "sage", "--decoder", "hadamard", "--hidden", "256",
         "--layers", "2", "--fanouts", "-1,-1", "--keep-targets", "--dropout", "0.5", "--lr",
         "0.005", "--max-grad-norm", "1", "--epochs", "80", "--patience", "80", "--monitor",
         "hits@20"),
        "hits@20", runs=1,
    ),
]  # fmt: skip

LINK_EXPERIMENTS += [
    Experiment(
        "icews14", "identity", "35.1 (CyGNet), 36.9 (RE-Net), 42 (RE-GCN)",
        "Li et al. 2021; Gastinger et al. 2023",
        {"icews14": ("ingest", "--edges", "{data}/edges.parquet", "--type", "rel",
                     "--reverse-edges")},
        ("icews14", *LINKS, "--model", "identity", "--epochs", "8"), "mrr", runs=2,
    ),
    Experiment(
        "gowalla", "lightgcn", "18.2", "He et al. 2020",
        {
            "gowalla": (
                "ingest", "--edges", "user:visits:item={data}/edges.parquet", "--nodes",
                "user={work}/gowalla_nodes/user.csv", "--nodes",
                "item={work}/gowalla_nodes/item.csv", "--src", "user", "--dst", "item",
                "--id-prefix", "--undirected",
            )
        },
        ("gowalla", *LINKS, "--model", "lightgcn", "--link-loss", "softmax", "--temperature",
         "0.1", "--num-negatives", "1024", "--batch-size", "8192", "--lr", "0.005",
         "--lr-schedule", "cosine", "--epochs", "30", "--monitor", "none"),
        "recall@20", runs=1,
        prepare=("benchmarks/node_lists.py", "{data}/edges.parquet", "{work}/gowalla_nodes",
                 "user", "item"),
    ),
]  # fmt: skip

LINK_EXPERIMENTS += [
    Experiment(
        "england_covid", f"sage, {horizon} days ahead", figure, "Panagopoulos et al. 2021",
        {
            f"england_covid_{horizon}": (
                "ingest", "--edges", f"{{work}}/covid{horizon}/edges.csv", "--nodes",
                f"{{work}}/covid{horizon}/nodes.csv", "--features",
                f"{{work}}/covid{horizon}/features.npy", "--splits",
                f"{{work}}/covid{horizon}/splits.npz",
            )
        },
        (f"england_covid_{horizon}", "--task", "node-regression", "--aggregator", "weighted",
         "--encoder", "linear", "--jumping", "cat", "--head", "linear", "--dropout", "0",
         "--weight-decay", "0.0001", "--monitor", "mae"),
        "mae", runs=weeks, varies="--split-index", scale=1.0, digits=2,
        prepare=("examples/spread_of_infection.py", "{data}/cases.csv.gz", "{data}/edges.parquet",
                 f"{{work}}/covid{horizon}", "--horizon", str(horizon)),
    )
    for horizon, weeks, figure in (
        (3, 5, "6.36 (mean over 1 to 3 days)"), (7, 4, "6.86 (1 to 7)"),
        (14, 2, "8.13 (1 to 14)"),
    )
]  # fmt: skip
