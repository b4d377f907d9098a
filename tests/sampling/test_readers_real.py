"""Public data sets in every format, against their published counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sampling import GraphStore
from sampling.graph.ingest import IngestConfig, ingest
from sampling.graph.store import Dataset

TABLES = {"nodes": ["nodes.csv.gz"], "features": "features.npz", "undirected": True}
POLBLOGS = {"columns": {"label": "value"}}


def ingested(folder: Path, out: Path, edges: str, **options: Any) -> Dataset:
    """The graph of one data set."""
    for role in ("nodes", "features", "splits"):
        if isinstance(options.get(role), list):
            options[role] = [folder / name for name in options[role]]
        elif role in options:
            options[role] = folder / options[role]
    for _ in ingest(IngestConfig(edges=[folder / edges], out=out / "graph", **options)):
        pass
    return GraphStore.open(out / "graph")


@pytest.mark.parametrize(
    ("folder", "edges", "options", "nodes", "arcs"),
    [
        ("cora", "edges.csv.gz", TABLES, 2708, 2 * 5278),
        ("facebook_pagepage", "edges.csv.gz", TABLES, 22470, 2 * 171_002 - 179),
        ("amazon_computers", "amazon_electronics_computers.npz", {}, 13752, 287_209),
        ("minesweeper", "minesweeper.npz", {}, 10_000, 2 * 39_402),
        ("road_ne", "NE.gr.xz", {}, 1_524_453, 2 * 1_934_010),
        ("web_notredame", "web-NotreDame.txt.gz", {}, 325_729, 1_497_134),
        # the header declares ids up to the largest, the nine that no edge names included
        ("soc_epinions", "soc-Epinions1.mtx.gz", {}, 75_879 + 9, 508_837),
        ("pgp_metis", "PGPgiantcompo.graph.gz", {}, 10_680, 2 * 24_316),
        ("polblogs", "polblogs.gml.gz", POLBLOGS, 1490, 19_090),
        ("polblogs", "polblogs.graphml.gz", POLBLOGS, 1490, 19_090),
        ("college_msg", "CollegeMsg.txt.gz", {}, 1899, 59_835),
        ("mathoverflow", "edges.parquet", {}, 24_818, 506_550),
        ("bitcoin_otc", "edges.csv.gz", {"columns": {"weight": "rating"}}, 5881, 35_592),
    ],
)
def test_counts_are_the_published_ones(
    real_data: Path,
    tmp_path: Path,
    folder: str,
    edges: str,
    options: dict[str, Any],
    nodes: int,
    arcs: int,
) -> None:
    data = ingested(real_data / folder, tmp_path, edges, **options)
    assert (data.graph.num_nodes, data.graph.num_edges) == (nodes, arcs)


def test_cora_has_its_public_split_features_and_classes(real_data: Path, tmp_path: Path) -> None:
    data = ingested(real_data / "cora", tmp_path, "edges.csv.gz", **TABLES)
    assert [len(data.nodes_in(p)) for p in ("train", "val", "test")] == [140, 500, 1000]
    assert data.meta.labels is not None and data.meta.labels.classes == list(range(7))
    assert data.features is not None and data.features.array.shape == (2708, 1433)
    assert np.count_nonzero(data.features.array) == 49_216


def test_amazon_computers_becomes_undirected_once(real_data: Path, tmp_path: Path) -> None:
    data = ingested(
        real_data / "amazon_computers",
        tmp_path,
        "amazon_electronics_computers.npz",
        splits="splits.npz",
        undirected=True,
    )
    assert data.graph.num_edges == 491_722
    assert data.features is not None and data.features.dim == 767
    assert data.splits is not None and data.splits.shape == (13_752, 10)
    assert data.meta.labels is not None and len(data.meta.labels.classes) == 10


def test_minesweeper_brings_ten_splits(real_data: Path, tmp_path: Path) -> None:
    data = ingested(real_data / "minesweeper", tmp_path, "minesweeper.npz")
    assert data.splits is not None and data.features is not None
    for k in range(10):
        assert np.bincount(data.splits[:, k]).tolist() == [0, 5000, 2500, 2500]


def test_gml_and_graphml_hold_one_graph(real_data: Path, tmp_path: Path) -> None:
    found = [
        ingested(real_data / "polblogs", tmp_path / suffix, f"polblogs.{suffix}.gz", **POLBLOGS)
        for suffix in ("gml", "graphml")
    ]
    assert found[0].meta.fingerprint == found[1].meta.fingerprint
    assert found[0].labels is not None and int((found[0].labels == 1).sum()) == 732


def test_degrees_are_those_of_the_check_values(real_data: Path, tmp_path: Path) -> None:
    web = ingested(real_data / "web_notredame", tmp_path / "w", "web-NotreDame.txt.gz").graph
    assert web.in_degrees().max() == 10_721
    assert np.bincount(web.indices).max() == 3_445
    rows = np.repeat(np.arange(web.num_nodes), web.in_degrees())
    assert int((rows == web.indices).sum()) == 27_455
    road = ingested(real_data / "road_ne", tmp_path / "r", "NE.gr.xz").graph
    assert road.in_degrees().max() == 9


def test_text_labels_and_messy_names_of_facebook_are_read(real_data: Path, tmp_path: Path) -> None:
    data = ingested(real_data / "facebook_pagepage", tmp_path, "edges.csv.gz", **TABLES)
    assert data.meta.labels is not None
    assert data.meta.labels.classes == ["company", "government", "politician", "tvshow"]
    assert data.meta.provenance["ignored_columns"] == ["nodes.csv.gz: ignored columns page_name"]


def test_mathoverflow_has_types_and_times_sorted_in_rows(real_data: Path, tmp_path: Path) -> None:
    graph = ingested(real_data / "mathoverflow", tmp_path, "edges.parquet").graph
    assert graph.edge_types == ("a2q", "c2a", "c2q")
    assert graph.edge_type is not None and graph.edge_time is not None
    rows = np.repeat(np.arange(graph.num_nodes), graph.in_degrees())
    order = np.lexsort((graph.indices, graph.edge_time, graph.edge_type, rows))
    keys = np.stack([rows, graph.edge_type, graph.edge_time, graph.indices])
    assert np.array_equal(keys[:, order], keys)


def test_bitcoin_times_keep_their_microseconds(real_data: Path, tmp_path: Path) -> None:
    data = ingested(
        real_data / "bitcoin_otc", tmp_path, "edges.csv.gz", columns={"weight": "rating"}
    )
    assert data.meta.provenance["time_unit"] == "microseconds"
    assert data.graph.edge_time is not None and data.graph.edge_weight is not None
    assert data.graph.edge_time.min() == 1_289_241_911_728_360
    assert (data.graph.edge_weight > 0).mean() == pytest.approx(0.900, abs=0.001)
