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
         "0.5", "--epochs", "60", "--monitor", "macro_f1"),
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
        ("aifb_rdf", *NODES, "--model", "rgcn", "--monitor", "none"),
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
        "wn18rr", "identity", "43 (DistMult), 47.9 (CompGCN)", "Vashishth et al. 2020",
        triples("wn18rr"),
        ("wn18rr", *LINKS, "--model", "identity", "--lr", "0.02", "--batch-size", "1024",
         "--epochs", "6"),
        "mrr", runs=1,
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
        ("ogbl_ddi", *LINKS, "--model", "sage", "--decoder", "dot", "--hidden", "128", "--layers",
         "2", "--fanouts", "40,40", "--lr", "0.01", "--epochs", "19", "--patience", "30",
         "--monitor", "hits@20"),
        "hits@20", runs=1,
    ),
]  # fmt: skip
