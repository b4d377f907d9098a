"""Collections from files: what every format says, splits, and one sentence for what is wrong."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sampling import GraphCollection
from sampling.errors import ExistsError, InputError, ParseError
from sampling.graph.ingest_graphs import GraphsReport, IngestGraphsConfig, ingest_graphs
from sampling.graph.ingest_graphs.splits import fold_splits, scaffold_split, stratified_folds


def ingested(tmp_path: Path, **settings: Any) -> GraphCollection:
    out = tmp_path / "out"
    run(out, **settings)
    return GraphCollection.open(out)


def run(out: Path, **settings: Any) -> GraphsReport:
    *_, last = ingest_graphs(IngestGraphsConfig(out=out, **settings))
    return last


def tables(folder: Path, *, nodes: bool = True) -> dict[str, Any]:
    names = ("graphs", "edges", "nodes") if nodes else ("graphs", "edges")
    found = {name: next(folder.glob(f"{name}.*")) for name in names}
    return {"format": "tables", "undirected": True, **found}


# --- public data -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "graphs", "nodes", "edges", "classes", "dim"),
    [("mutag", 188, 3371, 3721, [0, 2], 7), ("proteins", 1113, 43471, 81044, [0, 1], 3)],
)
def test_real_tables_have_their_published_size(
    real_data: Path, tmp_path: Path, name, graphs, nodes, edges, classes, dim
):
    got = ingested(tmp_path, **tables(real_data / name))
    assert (got.num_graphs, got.nodes.graph.num_nodes) == (graphs, nodes)
    assert got.nodes.graph.num_edges == 2 * edges
    assert (got.meta.labels.classes, got.meta.feature_dim, got.meta.num_splits) == (
        classes,
        dim,
        10,
    )
    assert (got.nodes.features.array.sum(axis=1) == 1).all()
    tests = np.concatenate([got.in_part("test", k) for k in range(10)])
    assert len(np.unique(tests)) == len(tests) > 0.9 * graphs
    for k in range(10):
        assert got.in_part("val", k).tolist() == got.in_part("test", (k + 1) % 10).tolist()


def test_real_networks_without_node_data_get_degrees(real_data: Path, tmp_path: Path):
    source = tables(real_data / "imdb_binary", nodes=False)
    got = ingested(tmp_path, **source, degree_features=40)
    assert (got.num_graphs, got.nodes.graph.num_edges) == (1000, 2 * 96531)
    degrees = np.minimum(got.nodes.graph.in_degrees(), 40)
    np.testing.assert_array_equal(got.nodes.features.array.argmax(axis=1), degrees)


def test_real_smiles_give_the_atoms_and_bonds_of_the_benchmark(real_data: Path, tmp_path: Path):
    folder = real_data / "esol"
    listed = ingested(tmp_path / "a", **tables(folder), labels=["logS"])
    read = ingested(tmp_path / "b", format="smiles", files=[folder / "graphs.csv.gz"])
    for one, other in (
        (listed.offsets, read.offsets),
        (listed.nodes.graph.indptr, read.nodes.graph.indptr),
        (listed.nodes.graph.indices, read.nodes.graph.indices),
        (listed.nodes.features.array, read.nodes.features.array),
        (listed.nodes.graph.edge_features, read.nodes.graph.edge_features),
        (listed.labels, read.labels),
        (listed.splits, read.splits),
    ):
        np.testing.assert_array_equal(one, other)
    assert read.meta.node_cardinalities == (119, 5, 12, 12, 10, 6, 6, 2, 2)
    assert read.meta.edge_cardinalities == (5, 6, 2)
    assert [len(read.in_part(p)) for p in ("train", "val", "test")] == [902, 113, 113]


def test_a_real_tu_zip_and_its_directory_are_one(real_data: Path, tmp_path: Path):
    file = real_data / "enzymes_tu" / "ENZYMES.zip"
    zipped = ingested(tmp_path / "a", format="tu", files=[file], folds=10, name="x")
    assert (zipped.num_graphs, zipped.nodes.graph.num_nodes) == (600, 19580)
    assert zipped.nodes.graph.num_edges == 74564
    assert zipped.meta.feature_dim == 21
    assert [len(zipped.in_part("test", k)) for k in range(10)] == [60] * 10
    counts = np.bincount(zipped.labels[zipped.in_part("test", 3)])
    assert counts.tolist() == [10] * 6
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path)
    listed = ingested(tmp_path / "b", format="tu", files=[tmp_path / "ENZYMES"], folds=10, name="x")
    assert listed.meta.fingerprint == zipped.meta.fingerprint


# --- tables ------------------------------------------------------------------------------------


def write(folder: Path, **files: str) -> dict[str, Any]:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return {"format": "tables", **{name: folder / f"{name}.csv" for name in files}}


GRAPHS = "graph,label,fold\na,yes,1\nb,no,2\nc,yes,0\n"
EDGES = "graph,src,dst,w\na,0,1,0.5\na,1,2,1\nb,0,0,2\n"
NODES = "graph,node,label,kind,mass\n" + "".join(
    f"{g},{n},{t},{k},{m}\n"
    for g, n, t, k, m in [("a", 1, "C", 0, 1.5), ("a", 0, "N", 2, 0), ("a", 2, "C", 1, 0.25),
                          ("b", 0, "O", 0, 1), ("c", 0, "C", 1, 2)]
)  # fmt: skip


def test_tables_are_read_by_name_whatever_the_order_of_rows(tmp_path: Path):
    got = ingested(tmp_path, **write(tmp_path, graphs=GRAPHS, edges=EDGES, nodes=NODES))
    assert got.offsets.tolist() == [0, 3, 4, 5]
    assert got.ids.to_ids(np.arange(3)) == ["a", "b", "c"]
    assert (got.meta.labels.classes, got.labels.tolist()) == (["no", "yes"], [1, 0, 1])
    assert got.meta.node_feature_names == ("kind", "mass", "label=0", "label=1", "label=2")
    np.testing.assert_array_equal(
        got.nodes.features.array[:3], [[2, 0, 0, 1, 0], [0, 1.5, 1, 0, 0], [1, 0.25, 1, 0, 0]]
    )
    assert got.nodes.graph.in_neighbors(1).tolist() == [0]
    assert got.nodes.graph.edge_features.tolist() == [[0.5], [1.0], [2.0]]
    assert got.splits.tolist() == [[3, 2], [2, 3], [1, 1]]


def test_the_order_of_edges_decides_nothing(tmp_path: Path):
    rows = [f"a,{s},{d},{w}" for s, d, w in [(0, 1, 3), (0, 1, 2), (1, 0, 1), (0, 1, 2)]]
    marks = []
    for i, order in enumerate((rows, rows[::-1])):
        folder = tmp_path / str(i)
        folder.mkdir()
        text = "graph,src,dst,w\n" + "\n".join(order) + "\n"
        source = write(folder, graphs="graph,label\na,1\n", edges=text)
        marks.append(ingested(folder, **source).meta.fingerprint)
    assert marks[0] == marks[1]


def test_undirected_edges_run_both_ways_once_and_self_loops_once(tmp_path: Path):
    edges = "graph,src,dst\na,0,1\na,1,0\na,2,2\n"
    source = write(tmp_path, graphs="graph,label\na,1\n", edges=edges)
    got = ingested(tmp_path, **source, undirected=True, constant_feature=True)
    assert got.nodes.graph.indptr.tolist() == [0, 1, 2, 3]
    assert got.nodes.graph.indices.tolist() == [1, 0, 2]
    assert got.nodes.features.array.tolist() == [[1.0]] * 3


def test_codes_stay_codes_and_degrees_become_one(tmp_path: Path):
    nodes = "graph,node,kind\na,0,4\na,1,0\n"
    edges = "graph,src,dst,bond\na,0,1,2\n"
    source = write(tmp_path, graphs="graph,label\na,1\n", edges=edges, nodes=nodes)
    got = ingested(tmp_path, **source, degree_features=3, constant_feature=True)
    assert got.meta.node_cardinalities == (5, 4, 1)
    assert got.meta.edge_cardinalities == (3,)
    assert got.nodes.features.array.tolist() == [[4, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"edges": "graph,src,dst\na,0,1\nz,0,1\n"}, r"edges.csv, row 2.*'z'"),
        ({"edges": "graph,src,dst\na,0,9\n"}, r"edges.csv, row 1.*'dst' names node 9"),
        ({"edges": "graph,src,dst\na,-1,0\n"}, r"edges.csv, row 1.*'src' names node -1"),
        ({"edges": "graph,src,dst\na,0,x\n"}, r"edges.csv, row 1.*'dst' holds 'x'"),
        ({"edges": "graph,src,dst\na,0,\n"}, r"edges.csv.*'dst'"),
        ({"edges": "graph,src\na,0\n"}, r"edges.csv.*no column 'dst'"),
        ({"edges": "graph,src,dst,w\na,0,1,nan\n"}, r"edges.csv, row 1.*'w' holds nan"),
        ({"edges": "graph,src,dst,src\na,0,1,2\n"}, r"edges.csv.*two columns 'src'"),
        ({"edges": ""}, r"edges.csv.*empty"),
        ({"nodes": NODES + "a,0,C,0,0\n"}, r"nodes.csv, row 6.*twice"),
        ({"nodes": NODES.replace("a,1,C,0,1.5\n", "")}, r"edges.csv, row 2: .*node 2"),
        ({"nodes": NODES.replace("a,1,C", "a,1,")}, r"nodes.csv, row 1.*'label' is empty"),
        ({"graphs": GRAPHS + "a,no,1\n"}, r"graphs.csv.*'a' appears twice"),
        ({"graphs": GRAPHS.replace("yes,1", "yes,-1")}, r"graphs.csv, row 1.*'fold' holds -1"),
        ({"graphs": "graph,p,q\na,1,2\nb,1,2\nc,1,2\n"}, r"graphs.csv.*p, q.*--label"),
        ({"graphs": "graph,label\n"}, r"graphs.csv: column 'graph'"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(tmp_path: Path, files, what):
    source = write(tmp_path, **{"graphs": GRAPHS, "edges": EDGES, "nodes": NODES, **files})
    with pytest.raises(ParseError, match=what):
        run(tmp_path / "out", **source)
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_named_twice_is_refused(tmp_path: Path):
    source = write(tmp_path, graphs=GRAPHS, edges=EDGES, nodes=NODES)
    with pytest.raises(InputError, match="--label names 'fold' twice"):
        run(tmp_path / "out", **source, labels=("fold", "fold"))


# --- JSON lines --------------------------------------------------------------------------------

LINES = [
    {"id": "x", "label": 1.5, "split": "train", "node_features": [[1, 2], [3, 4.5]],
     "edges": [[0, 1]], "edge_features": [[7]], "positions": [[0, 0, 0], [1, 2, 3]]},
    {"id": "y", "label": None, "split": "test", "node_features": [], "edges": []},
    {"id": "z", "label": -2, "node_features": [[5, 6]], "edges": [], "positions": [[9, 9, 9]]},
]  # fmt: skip


def jsonl(tmp_path: Path, lines: list[Any], name: str = "g.jsonl") -> dict[str, Any]:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    return {"format": "jsonl", "files": [tmp_path / name]}


@pytest.mark.parametrize("name", ["g.jsonl", "g.jsonl.gz"])
def test_json_lines_bring_all_that_a_graph_can_have(tmp_path: Path, name: str):
    got = ingested(tmp_path, **jsonl(tmp_path, LINES, name), undirected=True)
    assert got.offsets.tolist() == [0, 2, 2, 3]
    assert got.nodes.features.array.tolist() == [[1, 2], [3, 4.5], [5, 6]]
    assert got.nodes.graph.edge_features.tolist() == [[7], [7]]
    assert got.nodes.graph.indices.tolist() == [1, 0]
    assert got.nodes.positions.tolist() == [[0, 0, 0], [1, 2, 3], [9, 9, 9]]
    np.testing.assert_array_equal(got.labels, np.array([1.5, np.nan, -2], np.float32))
    assert got.splits[:, 0].tolist() == [1, 3, 0]
    assert got.ids.to_ids(np.arange(3)) == ["x", "y", "z"]


def test_several_targets_are_columns_and_null_is_none(tmp_path: Path):
    lines = [{"label": [1, None], "edges": [], "num_nodes": 1}, {"label": [2, 3.5], "edges": []}]
    got = ingested(tmp_path, **jsonl(tmp_path, lines))
    np.testing.assert_array_equal(got.labels, np.array([[1, np.nan], [2, 3.5]], np.float32))
    assert got.meta.num_targets == 2


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "holds a list"),
        ({"edge": []}, "unknown field 'edge'"),
        ({"edges": [[0, 1, 2]]}, "'edges'"),
        ({"edges": [[0], [1, 2]]}, "'edges'"),
        ({"edges": [[0, 0.5]]}, "'edges'"),
        ({"edges": "ab"}, "'edges'"),
        ({"edges": [[0, 10**30]]}, "'edges'"),
        ({"edges": [[0, 2**62]]}, "'edges'"),
        ({"edges": [[-1, 0]]}, "names node -1"),
        ({"edges": [[0, 3]], "num_nodes": 2}, "names node 3"),
        ({"num_nodes": 10**15}, "'num_nodes'"),
        ({"num_nodes": True}, "'num_nodes'"),
        ({"node_features": [[1], [2, 3]]}, "'node_features'"),
        ({"node_features": [["a"]]}, "'node_features'"),
        ({"node_features": [[None]]}, "'node_features'"),
        ({"node_features": [[1e300]]}, "no finite float32"),
        ({"node_features": [[1]], "positions": [[1, 2]]}, "'positions'"),
        ({"node_features": [[1]], "node_labels": [1, 2]}, "'node_labels' has 2 rows for 1"),
        ({"node_features": [[1]], "edges": [[0, 0]], "edge_features": []}, "'edge_features'"),
        ({"node_features": [[1, 2, 3]]}, "rows of 3 numbers"),
        ({"num_nodes": 1}, "no field 'node_features'"),
        ({"node_features": [], "label": "text", "id": "q"}, "another type"),
        ({"node_features": [], "label": {"a": 1}, "id": "q"}, "another type"),
        ({"node_features": [], "label": 1, "id": 3}, "'id'"),
        ({"node_features": [], "label": 1, "id": "x"}, "second time"),
        ({"node_features": [], "label": 1, "id": "q", "split": "maybe"}, "'maybe'"),
        ({"node_features": [], "label": 1, "id": "q", "split": 3}, "another type"),
    ],
)
def test_what_is_wrong_in_a_line_is_named(tmp_path: Path, line, what):
    with pytest.raises(ParseError, match=rf"g\.jsonl, row 4: .*{what}"):
        run(tmp_path / "out", **jsonl(tmp_path, [*LINES, line]))


# --- TU text -----------------------------------------------------------------------------------

TU = {"A": "1, 2\n2, 1\n3,3\n", "graph_indicator": "1\n1\n2\n", "graph_labels": "-1\n1\n",
      "node_attributes": "0.5, 1\n2,3\n4, 5\n", "edge_labels": "0\n0\n3\n"}  # fmt: skip


def tu_zip(path: Path, files: dict[str, str], prefix: str = "DS/DS_") -> dict[str, Any]:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(f"{prefix}{name}.txt", text)
    return {"format": "tu", "files": [path]}


def test_tu_text_counts_from_one_and_minus_one_is_a_class(tmp_path: Path):
    got = ingested(tmp_path, **tu_zip(tmp_path / "ds.zip", TU))
    assert got.offsets.tolist() == [0, 2, 3]
    assert got.meta.labels.classes == ["-1", "1"]
    assert got.nodes.graph.indices.tolist() == [1, 0, 2]
    assert got.nodes.graph.edge_features.tolist() == [[1, 0], [1, 0], [0, 1]]
    assert got.ids.to_ids(np.arange(2)) == [1, 2]


def test_nodes_of_a_graph_may_lie_apart(tmp_path: Path):
    files = {"A": "1,3\n", "graph_indicator": "1\n2\n1\n", "node_labels": "5\n6\n7\n"}
    got = ingested(tmp_path, **tu_zip(tmp_path / "ds.zip", files), node_labels="codes")
    assert got.offsets.tolist() == [0, 2, 3]
    assert got.nodes.features.array[:, 0].tolist() == [0, 2, 1]
    assert got.nodes.graph.in_neighbors(1).tolist() == [0]


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"A": "1,9\n"}, r"_A.txt, row 1: names 9"),
        ({"A": "1,2\n0,1\n"}, r"_A.txt, row 2: names 0"),
        ({"A": "1,3\n"}, r"_A.txt, row 1.*between two"),
        ({"A": "1,b\n"}, r"_A.txt.*b"),
        ({"A": "1,2,3\n"}, r"_A.txt has|_A.txt: has 3 columns"),
        ({"graph_indicator": "1\n1\n3\n"}, r"_graph_indicator.txt, row 3: names 3"),
        ({"graph_labels": "x\n1\n"}, r"_graph_labels.txt"),
        ({"node_attributes": "1\n2\n"}, r"_node_attributes.txt: has 2 rows for 3"),
        ({"node_attributes": "1,1\n2,nan\n3,3\n"}, r"_node_attributes.txt, row 2"),
        ({"edge_labels": "1\n"}, r"_edge_labels.txt: has 1 rows for 3"),
    ],
)
def test_what_is_wrong_in_tu_text_is_named(tmp_path: Path, files, what):
    with pytest.raises(ParseError, match=what):
        run(tmp_path / "out", **tu_zip(tmp_path / "ds.zip", TU | files))


def test_hostile_zips_are_refused_and_write_nothing(tmp_path: Path):
    bomb = tu_zip(tmp_path / "bomb.zip", TU | {"A": "1, 2\n" * 2_000_000})
    with pytest.raises(ParseError, match="unpacks to more than"):
        run(tmp_path / "out", **bomb)
    two = tmp_path / "two.zip"
    tu_zip(two, TU)
    with zipfile.ZipFile(two, "a") as archive:
        archive.writestr("../../DS_A.txt", "1,1\n")
    with pytest.raises(ParseError, match="one data set at a time"):
        run(tmp_path / "out", format="tu", files=[two])
    escaping = tu_zip(tmp_path / "dots.zip", TU, prefix="../../../DS_")
    assert run(tmp_path / "out", **escaping).meta.num_graphs == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.zip", "dots.zip", "out", "two.zip"]
    broken = tmp_path / "broken.zip"
    broken.write_bytes((tmp_path / "dots.zip").read_bytes()[:-40])
    with pytest.raises(ParseError, match="cannot be read as a zip"):
        run(tmp_path / "other", format="tu", files=[broken])


# --- SMILES ------------------------------------------------------------------------------------


def smiles(tmp_path: Path, text: str) -> dict[str, Any]:
    (tmp_path / "m.csv").write_text(text)
    return {"format": "smiles", "files": [tmp_path / "m.csv"]}


def test_molecules_of_one_atom_and_salts_are_graphs(tmp_path: Path):
    got = ingested(tmp_path, **smiles(tmp_path, "smiles,y\nC,1.5\n[Na+].[Cl-],2\nCCO,0\n"))
    assert got.sizes().tolist() == [1, 2, 3]
    assert got.nodes.graph.num_edges == 4
    assert got.meta.target_names == ("y",)


def test_a_smiles_that_is_none_is_named_or_counted(tmp_path: Path):
    source = smiles(tmp_path, "name,smiles,y\nmethane,C,1\nbad,C(C,2\nempty,,3\nethane,CC,4\n")
    with pytest.raises(ParseError, match=r"m\.csv, row 2: .*'C\(C'"):
        run(tmp_path / "out", **source, labels=["y"], columns={"id": "name"})
    got = ingested(tmp_path, **source, labels=["y"], columns={"id": "name"}, on_error="skip",
                   target_kind="real")  # fmt: skip
    assert got.labels.tolist() == [1, 4]
    assert got.ids.to_ids(np.arange(2)) == ["methane", "ethane"]
    assert got.meta.provenance["skipped"] == 2


def test_positions_are_the_same_for_the_same_seed(tmp_path: Path):
    source = smiles(tmp_path, "smiles,y\nCCO,1\nC,2\n")
    marks = [ingested(tmp_path / str(i), **source, positions=True, seed=seed).nodes.positions
             for i, seed in enumerate((1, 1, 2))]  # fmt: skip
    np.testing.assert_array_equal(marks[0], marks[1])
    assert np.abs(marks[0] - marks[2]).max() > 0.01
    bond = np.linalg.norm(marks[0][0] - marks[0][1])
    assert 1.4 < bond < 1.6


def test_a_scaffold_split_keeps_scaffolds_together(tmp_path: Path):
    rings = ["c1ccccc1", "C1CCCCC1", "c1ccncc1"]
    rows = [f"{'C' * k}{ring},{k}" for ring in rings for k in range(1, 5)]
    source = smiles(tmp_path, "smiles,y\n" + "\n".join(rows) + "\n")
    got = ingested(tmp_path, **source, split_kind="scaffold", random_split=(0.34, 0.33, 0.33))
    by_ring = got.splits[:, 0].reshape(3, 4)
    assert (by_ring == by_ring[:, :1]).all()
    assert sorted(by_ring[:, 0].tolist()) == [1, 2, 3]


# --- splits and options ------------------------------------------------------------------------


def test_drawn_folds_are_balanced_by_class_and_by_size():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    folds = stratified_folds(labels, 100, 10, seed=4)
    for fold in range(1, 11):
        assert np.bincount(labels[folds == fold]).tolist() == [5, 3, 2]
    assert (folds != stratified_folds(labels, 100, 10, seed=5)).any()
    splits = fold_splits(folds)
    assert ((splits == 3).sum(axis=1) == 1).all()
    with pytest.raises(InputError, match="cannot be in"):
        stratified_folds(labels[:5], 5, 10, seed=0)


def test_scaffold_groups_do_not_overflow_a_part():
    scaffolds = ["a"] * 6 + ["b"] * 2 + ["c", "d"]
    parts = scaffold_split(scaffolds, (0.6, 0.2, 0.2), 0)[:, 0]
    assert np.bincount(parts).tolist() == [0, 6, 2, 2]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"format": "xml"}, "format 'xml'"),
        ({"format": "tables"}, "needs --graphs"),
        ({"format": "tu"}, "got 0 files"),
        ({"format": "smiles", "files": [Path("a"), Path("b")]}, "got 2 files"),
        ({"format": "jsonl", "files": [Path("a")], "graphs": Path("b")}, "are for --format tables"),
        ({"format": "jsonl", "files": [Path("a")], "positions": True}, "come from molecules"),
        ({"format": "jsonl", "files": [Path("a")], "folds": 1}, "--folds is 1"),
        (
            {"format": "jsonl", "files": [Path("a")], "folds": 3, "random_split": (1, 0, 0)},
            "give one",
        ),
        ({"format": "jsonl", "files": [Path("a")], "degree_features": 0}, "--degree-features"),
        ({"format": "jsonl", "files": [Path("a")]}, "no such file"),
        ({"format": "tu", "files": [Path("a")]}, "no such directory"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, settings, what):
    with pytest.raises(InputError, match=what):
        run(tmp_path / "out", **settings)


def test_an_output_that_is_there_is_kept(tmp_path: Path):
    source = jsonl(tmp_path, LINES)
    assert run(tmp_path / "out", **source).meta.version == 1
    with pytest.raises(ExistsError):
        run(tmp_path / "out", **source)
    assert run(tmp_path / "out", **source, overwrite=True).meta.version == 2
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no graphs"):
        run(tmp_path / "new", format="jsonl", files=[tmp_path / "empty.jsonl"])
