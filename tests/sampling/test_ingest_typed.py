"""Graphs of several types from a file per type: ids, features, labels, inverse edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sampling import GraphStore
from sampling.errors import DamagedError, FeatureError, InputError, ParseError
from sampling.graph.arrays import read_json, write_json
from sampling.graph.csc import NodeType
from sampling.graph.ingest import IngestConfig, TypedFile, ingest
from sampling.graph.store import Dataset, fingerprint


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def ingested(out: Path, **options: object) -> Dataset:
    for _ in ingest(IngestConfig(out=out / "graph", overwrite=True, **options)):
        pass
    return GraphStore.open(out / "graph")


def bibliography(folder: Path) -> dict[str, object]:
    """Two authors and three papers, both counted from 0; authors have labels and splits."""
    author = text(folder / "author.csv", "id,label,split\n1,db,train\n0,,test\n")
    paper = text(folder / "paper.csv", "id\n0\n1\n2\n")
    writes = text(folder / "author__writes__paper.csv", "src,dst\n0,0\n1,1\n1,2\n")
    cites = text(folder / "cites.csv", "src,dst\n2,0\n1,1\n")
    return {
        "nodes": [TypedFile(author, "author"), TypedFile(paper, "paper")],
        "edges": [
            TypedFile.parse(f"author:writes:paper={writes}"),
            TypedFile.parse(f"paper:cites:paper={cites}"),
        ],
        "id_prefix": True,
    }


def edges_of(data: Dataset) -> set[tuple[str, str, str]]:
    """Every edge by the ids of its ends and the name of its type."""
    graph = data.graph
    ids = data.ids.to_ids(np.arange(graph.num_nodes))
    dst = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    codes = np.zeros(graph.num_edges, int) if graph.edge_type is None else graph.edge_type
    return {
        (str(ids[s]), graph.edge_types[t], str(ids[d]))
        for s, t, d in zip(graph.indices, codes, dst, strict=True)
    }


def test_a_file_is_named_with_its_types(tmp_path: Path) -> None:
    assert TypedFile.parse("a.csv") == TypedFile(Path("a.csv"))
    assert TypedFile.parse("author=a.csv") == TypedFile(Path("a.csv"), "author")
    assert TypedFile.parse("a:w:p=f=g.csv") == TypedFile(Path("f=g.csv"), "w", "a", "p")
    odd = text(tmp_path / "x=y.csv", "")
    assert TypedFile.parse(str(odd)) == TypedFile(odd)


def test_equal_ids_of_different_types_are_different_nodes(tmp_path: Path) -> None:
    data = ingested(tmp_path, **bibliography(tmp_path))
    assert data.ids.to_ids(np.arange(5)) == [
        "author:1", "author:0", "paper:0", "paper:1", "paper:2",
    ]  # fmt: skip
    assert data.graph.node_types == (NodeType("author", 0, 2), NodeType("paper", 2, 5))
    assert edges_of(data) == {
        ("author:0", "writes", "paper:0"),
        ("author:1", "writes", "paper:1"),
        ("author:1", "writes", "paper:2"),
        ("paper:2", "cites", "paper:0"),
        ("paper:1", "cites", "paper:1"),
    }


def test_types_in_columns_and_integer_tables_have_prefixes_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [5, 5], "type": ["a", "b"]}), tmp_path / "n.parquet")
    pq.write_table(pa.table({"src": [5], "dst": [5]}), tmp_path / "e.parquet")
    data = ingested(
        tmp_path,
        nodes=[tmp_path / "n.parquet"],
        edges=[TypedFile.parse(f"a:to:b={tmp_path / 'e.parquet'}")],
        id_prefix=True,
    )
    assert edges_of(data) == {("a:5", "to", "b:5")}


def test_labels_and_splits_of_one_type_leave_the_others_without(tmp_path: Path) -> None:
    data = ingested(tmp_path, **bibliography(tmp_path))
    assert data.labels is not None and data.labels.tolist() == [0, -1, -1, -1, -1]
    assert data.splits is not None and data.splits[:, 0].tolist() == [1, 3, 0, 0, 0]
    real = text(tmp_path / "author.csv", "id,label\n1,0.5\n0,2.5\n")
    options = bibliography(tmp_path) | {
        "nodes": [TypedFile(real, "author"), TypedFile(tmp_path / "paper.csv", "paper")]
    }
    text(real, "id,label\n1,0.5\n0,2.5\n")
    labels = ingested(tmp_path, **options).labels
    assert labels is not None and labels[:2].tolist() == [0.5, 2.5] and np.isnan(labels[2:]).all()


def test_a_named_column_is_needed_in_one_of_the_types(tmp_path: Path) -> None:
    options = bibliography(tmp_path)
    text(tmp_path / "author.csv", "id,area\n1,db\n0,ml\n")
    labels = ingested(tmp_path, **options, columns={"label": "area"}).labels
    assert labels is not None and labels.tolist() == [0, 1, -1, -1, -1]
    with pytest.raises(ParseError, match="no column 'year'"):
        ingested(tmp_path, **options, columns={"label": "year"})


def test_files_without_a_named_type_must_agree_about_labels(tmp_path: Path) -> None:
    one, other = text(tmp_path / "a.csv", "id,label\n0,1\n"), text(tmp_path / "b.csv", "id\n1\n")
    with pytest.raises(InputError, match="some nodes files have a label column"):
        ingested(tmp_path, nodes=[one, other])


def test_every_edge_type_has_an_inverse_where_it_is_asked_for(tmp_path: Path) -> None:
    plain = edges_of(ingested(tmp_path, **bibliography(tmp_path)))
    both = edges_of(ingested(tmp_path, **bibliography(tmp_path), reverse_edges=True))
    assert both == plain | {(d, f"rev_{t}", s) for s, t, d in plain}
    untyped = text(tmp_path / "e.csv", "src,dst\n0,1\n2,2\n")
    data = ingested(tmp_path, edges=[untyped], reverse_edges=True)
    assert edges_of(data) == {
        ("0", "edge", "1"), ("1", "rev_edge", "0"), ("2", "edge", "2"), ("2", "rev_edge", "2"),
    }  # fmt: skip


def test_inverses_that_cannot_be_are_refused(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", "src,dst,type\n0,1,a\n1,0,rev_a\n")
    with pytest.raises(InputError, match="'rev_a' already"):
        ingested(tmp_path, edges=[edges], reverse_edges=True)
    with pytest.raises(InputError, match="not both"):
        ingested(tmp_path, edges=[edges], reverse_edges=True, undirected=True)
    header = "%%MatrixMarket matrix coordinate pattern symmetric\n"
    symmetric = text(tmp_path / "g.mtx", header + "2 2 1\n2 1\n")
    with pytest.raises(InputError, match="run both ways already"):
        ingested(tmp_path, edges=[symmetric], reverse_edges=True)


@pytest.mark.parametrize("storage", ["float32", "float16"])
@pytest.mark.parametrize("reorder", ["none", "degree"])
def test_features_of_types_keep_their_widths_and_nodes(
    tmp_path: Path, storage: str, reorder: str
) -> None:
    rng = np.random.default_rng(0)
    author, paper = rng.integers(-5, 5, (2, 4)), rng.integers(-5, 5, (3, 2))
    np.save(tmp_path / "a.npy", author.astype(np.float32))
    np.savez(tmp_path / "p.npz", features=paper.astype(np.float32))
    options = bibliography(tmp_path)
    options["nodes"] = [*options["nodes"], TypedFile(text(tmp_path / "v.csv", "id\n7\n"), "venue")]
    data = ingested(
        tmp_path,
        **options,
        features=[TypedFile(tmp_path / "a.npy", "author"), TypedFile(tmp_path / "p.npz", "paper")],
        feature_storage=storage,
        reorder=reorder,
    )
    assert data.meta.feature_widths == {"author": 4, "paper": 2, "venue": 0}
    assert data.features is not None and data.features.dim == 4
    rows = {
        key: row.tolist()
        for key, row in zip(
            data.ids.to_ids(np.arange(6)), data.features.rows(0, 6).numpy(), strict=True
        )
    }
    assert rows == {
        "author:0": author[0].tolist(),
        "author:1": author[1].tolist(),
        **{f"paper:{i}": [*paper[i].tolist(), 0, 0] for i in range(3)},
        "venue:7": [0, 0, 0, 0],
    }


def test_rows_of_a_type_follow_its_list_where_that_is_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1.0], [2.0]], np.float32))
    data = ingested(
        tmp_path,
        **bibliography(tmp_path),
        features=[TypedFile(tmp_path / "a.npy", "author")],
        feature_rows="nodes",
    )
    assert data.features is not None
    assert data.features.rows(0, 5)[:, 0].tolist() == [1, 2, 0, 0, 0]


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (["venue=a.npy"], {}, "node type 'venue', and there is author, paper"),
        (["paper=a.npy"], {}, "2 rows for 3 nodes of type 'paper'"),
        (["author=a.npy", "paper=p.npy"], {"feature_storage": "int8"}, "int8 has one scale"),
    ],
)
def test_features_that_fit_no_type_are_refused(
    tmp_path: Path, files: list[str], options: dict[str, object], message: str
) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 1), np.float32))
    np.save(tmp_path / "p.npy", np.ones((3, 1), np.float32))
    named = [TypedFile(tmp_path / f.split("=")[1], f.split("=")[0]) for f in files]
    with pytest.raises(FeatureError, match=message):
        ingested(tmp_path, **bibliography(tmp_path), features=named, **options)
    with pytest.raises(InputError, match="one for each node type as TYPE=FILE"):
        ingested(tmp_path, **bibliography(tmp_path), features=[tmp_path / "a.npy"] * 2)


def test_prefixes_need_the_types_of_ids(tmp_path: Path) -> None:
    options = bibliography(tmp_path)
    plain = text(tmp_path / "plain.csv", "src,dst\n0,0\n")
    with pytest.raises(InputError, match=r"write SRC_TYPE:TYPE:DST_TYPE=plain.csv"):
        ingested(tmp_path, **options | {"edges": [plain]})
    with pytest.raises(InputError, match=r"write TYPE=paper.csv"):
        ingested(tmp_path, **options | {"nodes": [tmp_path / "paper.csv"]})


def test_a_graph_without_widths_keeps_its_fingerprint(tmp_path: Path) -> None:
    data = ingested(tmp_path, edges=[text(tmp_path / "e.csv", "src,dst\n0,1\n")])
    manifest = read_json(tmp_path / "graph" / "graph.json")
    del manifest["feature_widths"]
    write_json(tmp_path / "graph" / "graph.json", manifest)
    assert GraphStore.meta(tmp_path / "graph").fingerprint == data.meta.fingerprint
    widths = data.meta.model_copy(update={"feature_widths": {"node": 0}})
    assert fingerprint(widths) != data.meta.fingerprint


def test_widths_that_fit_no_types_are_damage(tmp_path: Path) -> None:
    data = ingested(tmp_path, edges=[text(tmp_path / "e.csv", "src,dst\n0,1\n")])
    meta = data.meta.model_copy(update={"feature_widths": {"node": 3}})
    meta = meta.model_copy(update={"fingerprint": fingerprint(meta)})
    write_json(tmp_path / "graph" / "graph.json", meta.model_dump(mode="json"))
    with pytest.raises(DamagedError, match="widths of features"):
        GraphStore.open(tmp_path / "graph")


# --- several labels per node --------------------------------------------------------------------


def labeled(folder: Path, pairs: str, **options: object) -> Dataset:
    edges = text(folder / "e.csv", "src,dst\n0,1\n1,2\n2,3\n")
    return ingested(
        folder, **{"edges": [edges], "labels": [text(folder / "l.csv", pairs)], **options}
    )


@pytest.mark.parametrize("reorder", ["none", "degree"])
def test_pairs_become_a_row_of_zeros_and_ones_per_node(tmp_path: Path, reorder: str) -> None:
    data = labeled(tmp_path, "id,label\n0,b\n2,\n0,a\n3,c\n0,b\n", reorder=reorder)
    assert data.meta.labels is not None and data.meta.labels.kind == "multi"
    assert data.meta.labels.classes == ["a", "b", "c"]
    assert data.labels is not None and data.labels.dtype == np.uint8
    rows = {key: data.labels[i].tolist() for i, key in enumerate(data.ids.to_ids(np.arange(4)))}
    assert rows == {0: [1, 1, 0], 1: [255] * 3, 2: [0, 0, 0], 3: [0, 0, 1]}


def test_random_splits_draw_nodes_that_have_labels_known(tmp_path: Path) -> None:
    data = labeled(tmp_path, "id,label\n0,1\n3,2\n2,7\n", random_split=(1.0, 0.0, 0.0))
    assert data.meta.labels is not None and data.meta.labels.classes == [1, 2, 7]
    assert data.splits is not None and data.splits[:, 0].tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("id,label\n0,1\n9,1\n", "row 2.*labels node '9', which is not in the graph"),
        ("id,label\n0,1.5\n", "fractions"),
        ("id,label\n", "holds no labels"),
        ("id,label\n0,\n", "holds no labels"),
        ("id,class\n0,1\n", "no column 'label'"),
        ("id,label,split\n0,1,train\n", "split column"),
        ("id,label\nx,1\n", "'x'"),
    ],
)
def test_pairs_that_are_none_are_refused_by_row(tmp_path: Path, pairs: str, message: str) -> None:
    with pytest.raises((InputError, ParseError), match=message):
        labeled(tmp_path, pairs)


def test_pairs_of_unknown_nodes_can_be_dropped(tmp_path: Path) -> None:
    data = labeled(tmp_path, "id,label\n9,1\n0,2\n", on_dangling="drop")
    assert data.labels is not None and data.labels[0].tolist() == [1]


def test_labels_come_from_one_place(tmp_path: Path) -> None:
    nodes = text(tmp_path / "n.csv", "id,label\n0,1\n1,1\n2,1\n3,1\n")
    with pytest.raises(InputError, match="give one of them"):
        labeled(tmp_path, "id,label\n0,1\n", nodes=[nodes])


@pytest.mark.parametrize("rows", [[[2, 0]], [[255, 0]]])
def test_stored_rows_of_labels_are_zeros_and_ones_or_none(tmp_path: Path, rows: list) -> None:
    data = labeled(tmp_path, "id,label\n0,1\n1,2\n")
    assert data.labels is not None
    labels = np.array(data.labels)
    labels[:1] = rows
    changed = Dataset(data.graph, data.ids, data.meta, labels=labels)
    GraphStore.write(tmp_path / "graph", changed, overwrite=True)
    with pytest.raises(DamagedError, match=r"labels.npy holds unknown classes"):
        GraphStore.open(tmp_path / "graph")
