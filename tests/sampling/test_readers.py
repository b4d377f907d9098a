"""Every format, from small files written by hand, to a graph."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sampling import GraphStore
from sampling.errors import FeatureError, InputError, ParseError
from sampling.graph.ingest import IngestConfig, ingest
from sampling.graph.readers import csv
from sampling.graph.readers.source import ReadOptions
from sampling.graph.store import Dataset

KARATE = [(0, 1), (0, 2), (1, 2), (2, 3), (3, 3)]
GML = """graph [ directed {directed} comment "a [ b"
  node [ id 1 label "x&quot;y" value 0 graphics [ x 1.0 y 2.0 ] ]
  node [ id 2 label "é" value 1 ]
  node [ id 3 label "z" value 1 ]
  edge [ source 1 target 2 weight 0.5 ] edge [ source 2 target 3 weight 2 ] ]
"""
GRAPHML = """<?xml version="1.0"?>{doctype}
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
 <key id="d0" for="node" attr.name="kind" attr.type="string"><default>a</default></key>
 <key id="d1" for="edge" attr.name="weight" attr.type="double"/>
 <graph edgedefault="undirected">
  <node id="n1"/><node id="n2"><data key="d0">b</data></node><node id="n0"/>
  <edge source="n1" target="n2"><data key="d1">0.5</data></edge>
  <edge source="n2" target="n0" directed="true"><data key="d1">3</data></edge>
 </graph>
</graphml>
"""


def ingested(out: Path, *edges: Path, **options: object) -> Dataset:
    """The graph of some files."""
    for _ in ingest(IngestConfig(edges=edges, out=out / "graph", overwrite=True, **options)):
        pass
    return GraphStore.open(out / "graph")


def edge_list(data: Dataset) -> list[tuple[object, object]]:
    """Edges as pairs of node ids, sorted by destination."""
    dst = np.repeat(np.arange(data.graph.num_nodes), data.graph.in_degrees())
    src = data.graph.indices.astype(np.int64)
    return list(zip(data.ids.to_ids(src), data.ids.to_ids(dst), strict=True))


def by_dst(edges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted(edges, key=lambda e: (e[1], e[0]))


def write(path: Path, text: str | bytes) -> Path:
    data = text if isinstance(text, bytes) else text.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    if path.suffix == ".xz":
        data = lzma.compress(data)
    path.write_bytes(data)
    return path


def lines(edges: list[tuple[int, int]], separator: str, first: int = 0) -> str:
    return "".join(f"{a + first}{separator}{b + first}\n" for a, b in edges)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("e.csv", "src,dst\n" + lines(KARATE, ",")),
        ("e.csv.gz", "source,target\n" + lines(KARATE, ",")),
        ("e.csv", "\ufeffsrc,dst\r\n" + lines(KARATE, ",").replace("\n", "\r\n")),
        ("e.tsv.xz", "dst\tx\tsrc\n" + "".join(f"{b}\t-\t{a}\n" for a, b in KARATE)),
        ("e.txt", "# FromNodeId\tToNodeId\r\n" + lines(KARATE, "\t").replace("\n", "\r\n")),
        ("e.txt.gz", lines(KARATE, "   ").replace("\n", " \n\n% c\n")),
        ("e.txt", "src dst\n" + lines(KARATE, " ")),
    ],
)
def test_text_edge_lists_give_the_edges_they_list(tmp_path: Path, name: str, text: str) -> None:
    data = ingested(tmp_path, write(tmp_path / name, text))
    assert edge_list(data) == by_dst(KARATE)


def test_parquet_edges_may_be_of_any_integer_width(tmp_path: Path) -> None:
    for type_ in (pa.int32(), pa.uint64(), pa.int8()):
        columns = [pa.array(c, type_) for c in zip(*KARATE, strict=True)]
        pq.write_table(pa.table(columns, ["src", "dst"]), tmp_path / "e.parquet")
        assert edge_list(ingested(tmp_path, tmp_path / "e.parquet")) == by_dst(KARATE)


def test_a_third_snap_column_is_a_time_when_whole_and_a_weight_when_not(tmp_path: Path) -> None:
    whole = ingested(tmp_path, write(tmp_path / "t.txt", "1 2 30\n3 2 10\n"))
    assert whole.graph.edge_time is not None and whole.graph.edge_time.tolist() == [10, 30]
    real = ingested(tmp_path, write(tmp_path / "w.txt", "1 2 30\n3 2 0.5\n"))
    assert real.graph.edge_weight is not None and real.graph.edge_weight.tolist() == [30, 0.5]


def test_matrix_market_declares_nodes_and_symmetry(tmp_path: Path) -> None:
    header = "%%MatrixMarket matrix coordinate {} {}\n% c\n"
    general = header.format("pattern", "general") + "5 5 5\n" + lines(KARATE, " ", 1)
    data = ingested(tmp_path, write(tmp_path / "a.mtx", general))
    assert data.graph.num_nodes == 5
    assert edge_list(data) == [(a + 1, b + 1) for a, b in by_dst(KARATE)]
    real = header.format("real", "symmetric") + "3 3 2\n2 1 .5\n3 3 2e0\n"
    data = ingested(tmp_path, write(tmp_path / "b.mtx", real))
    assert edge_list(data) == [(2, 1), (1, 2), (3, 3)]
    assert data.graph.edge_weight is not None
    assert data.graph.edge_weight.tolist() == [0.5, 0.5, 2]


@pytest.mark.parametrize(
    ("text", "edges", "weights"),
    [
        ("% c\n4 3\n2 3\n1\n1 4\n3\n", [(2, 1), (3, 1), (1, 2), (1, 3), (4, 3), (3, 4)], None),
        ("3 1 0\n\n3\n2\n", [(3, 2), (2, 3)], None),
        ("2 1 1\n2 7\n1 7\n", [(2, 1), (1, 2)], [7, 7]),
        ("2 1 011 2\n5 5 2 7\n5 5 1 7\n", [(2, 1), (1, 2)], [7, 7]),
        ("3 1 10\n9 2\n9 1\n9\n", [(2, 1), (1, 2)], None),
    ],
)
def test_metis_lines_are_neighborhoods(
    tmp_path: Path, text: str, edges: list[tuple[int, int]], weights: list[float] | None
) -> None:
    data = ingested(tmp_path, write(tmp_path / "a.graph", text))
    assert edge_list(data) == edges
    assert (data.graph.edge_weight is None) == (weights is None)
    if weights is not None and data.graph.edge_weight is not None:
        assert data.graph.edge_weight.tolist() == weights


def test_dimacs_problems_differ_in_direction(tmp_path: Path) -> None:
    arcs = ingested(tmp_path, write(tmp_path / "a.gr", "c x\np sp 4 2\na 1 2 5\nc y\na 3 2 1\n"))
    assert edge_list(arcs) == [(1, 2), (3, 2)] and arcs.graph.num_nodes == 4
    width = ingested(tmp_path, write(tmp_path / "b.gr.xz", "p tw 3 2\n1 2\n2 3\n"))
    assert edge_list(width) == [(2, 1), (1, 2), (3, 2), (2, 3)]
    color = ingested(tmp_path, write(tmp_path / "c.col", "p edge 2 1\ne 1 2\ne 2 1\n"))
    assert edge_list(color) == [(2, 1), (1, 2)]


def test_gml_and_graphml_bring_nodes_labels_and_directions(tmp_path: Path) -> None:
    directed = write(tmp_path / "a.gml", GML.format(directed=1))
    data = ingested(tmp_path, directed, columns={"label": "value"})
    assert edge_list(data) == [(1, 2), (2, 3)] and data.graph.edge_weight is not None
    assert data.labels is not None and data.labels.tolist() == [0, 1, 1]
    named = ingested(tmp_path, directed, columns={"label": "label"})
    assert named.meta.labels is not None and named.meta.labels.classes == ['x"y', "z", "é"]
    both = ingested(tmp_path, write(tmp_path / "b.gml.gz", GML.format(directed=0)))
    assert edge_list(both) == [(2, 1), (1, 2), (3, 2), (2, 3)] and both.labels is None
    mixed = write(tmp_path / "c.graphml", GRAPHML.format(doctype=""))
    data = ingested(tmp_path, mixed, columns={"label": "kind"})
    assert data.ids.to_ids(np.arange(3)) == ["n1", "n2", "n0"]
    assert edge_list(data) == [("n2", "n1"), ("n1", "n2"), ("n2", "n0")]
    assert data.labels is not None and data.labels.tolist() == [0, 1, 0]


def test_numpy_edges_lie_down_or_stand(tmp_path: Path) -> None:
    pairs = np.array(KARATE, np.int32)
    for name, array in (("a", pairs), ("b", pairs.T), ("c", np.asfortranarray(pairs))):
        np.save(tmp_path / f"{name}.npy", array)
        assert edge_list(ingested(tmp_path, tmp_path / f"{name}.npy")) == by_dst(KARATE)
    np.savez(tmp_path / "d.npz", edges=pairs)
    assert edge_list(ingested(tmp_path, tmp_path / "d.npz")) == by_dst(KARATE)


def test_scipy_matrices_in_three_formats_are_one_graph(tmp_path: Path) -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    src, dst = np.array(KARATE).T
    matrix = scipy_sparse.coo_matrix((np.arange(1.0, 6), (src, dst)), shape=(5, 5))
    prints = set()
    for layout in ("csr", "csc", "coo"):
        scipy_sparse.save_npz(tmp_path / "a.npz", matrix.asformat(layout))
        data = ingested(tmp_path, tmp_path / "a.npz")
        assert edge_list(data) == by_dst(KARATE) and data.graph.num_nodes == 5
        prints.add(data.meta.fingerprint)
    assert len(prints) == 1


def test_single_files_of_benchmarks_bring_everything(tmp_path: Path) -> None:
    x = np.eye(4, dtype=np.float32)
    np.savez(
        tmp_path / "a.npz",
        edges=np.array([(0, 1), (2, 3)]),
        node_features=x,
        node_labels=np.array([0, 1, 1, -1]),
        train_masks=np.array([[1, 0, 0, 0]] * 10, bool),
        val_masks=np.array([[0, 1, 0, 0]] * 10, bool),
        test_masks=np.array([[0, 0, 1, 1]] * 10, bool),
    )
    data = ingested(tmp_path, tmp_path / "a.npz")
    assert edge_list(data) == [(1, 0), (0, 1), (3, 2), (2, 3)]
    assert data.features is not None and np.array_equal(data.features.array, x)
    assert data.labels is not None and data.labels.tolist() == [0, 1, 1, -1]
    assert data.splits is not None and data.splits.tolist() == [[i] * 10 for i in (1, 2, 3, 3)]
    csr = {"data": np.ones(2, "f4"), "indices": np.array([1, 3]), "shape": np.array([4, 4])}
    csr["indptr"] = np.array([0, 1, 1, 2, 2])
    np.savez(
        tmp_path / "b.npz",
        labels=np.array([0, 1, 1, 0]),
        attr_matrix=x,
        node_names=np.array(["x"] * 4, object),
        **{f"adj_{k}": v for k, v in csr.items()},
    )
    data = ingested(tmp_path, tmp_path / "b.npz")
    assert edge_list(data) == [(0, 1), (2, 3)] and data.graph.edge_weight is None
    assert data.features is not None and data.labels is not None


# --- refused by name ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("e.csv", "a,b\n1,2\n", "no column 'src' but 'a', 'b'"),
        ("e.csv", "", "empty"),
        ("e.csv", "src,dst\n", "holds no edges"),
        ("e.csv", "src,dst\n1,2\n1,2,3\n", "Expected 2 columns, got 3"),
        ("e.csv", "src,dst\n1,2\n1,\n", "row 2.*empty"),
        ("e.csv", "src,dst\n1,9223372036854775808\n", "row 1.*9223372036854775808.*2\\*\\*63"),
        ("e.csv", "src,dst\n1,2\n1,2.5\n", "row 2.*2.5.*never floats"),
        ("e.csv", "src,dst,weight\n1,2,3\n1,2,x\n", "row 2.*'weight' holds 'x'"),
        ("e.csv", "src,dst,weight\n1,2,3\n1,2,inf\n", "row 2.*finite"),
        ("e.csv", "src,dst,time\n1,2,\n", "row 1.*empty"),
        ("e.csv", "src,dst,time\n1,2,nan\n", "row 1.*finite"),
        ("e.csv", b"src,dst\n1,\xff\xfe\n", "UTF-8"),
        ("e.csv", "src,src,dst\n1,1,2\n", "more than once"),
        ("e.txt", "1 2\n3 4 5\n", "row 2.*Expected 2 columns"),
        ("e.txt", "1 2 3 4\n", "4 columns and no header"),
        ("e.mtx", "%%MatrixMarket matrix array real general\n", "coordinate"),
        ("e.mtx", "%%MatrixMarket matrix coordinate real skew-symmetric\n1 1 0\n", "skew"),
        ("e.mtx", "%%MatrixMarket matrix coordinate pattern general\n2 3 0\n", "square"),
        ("e.mtx", "%%MatrixMarket matrix coordinate pattern general\n2 2 2\n1 1\n", "declares 2"),
        ("e.mtx", "%%MatrixMarket matrix coordinate pattern general\n2 2 1\n1 3\n", "node 3"),
        ("e.mtx", "%%MatrixMarket matrix coordinate pattern general\n2 2 1\n0 1\n", "node 0"),
        ("e.mtx", "%%MatrixMarket matrix coordinate pattern general\n9e9 2 1\n0 1\n", "a count"),
        ("e.graph", "2 1\n2\n", "1 adjacency lines"),
        ("e.graph", "2 1\n2\n1\n1\n", "more than the 2"),
        ("e.graph", "2 1 1\n2\n1 1\n", "do not fit"),
        ("e.graph", "2 1 100\n2\n1\n", "format '100'"),
        ("e.graph", "2 5\n2\n1\n", "declares 10"),
        ("e.gr", "p sp 2 1\nx 1 2 3\n", "'x'"),
        ("e.gr", "p max 2 1\na 1 2 3\n", "'max'"),
        ("e.gr", "a 1 2 3\n", "no line `p"),
        ("e.gml", "graph [ node [ label 3 ] ]", "without 'id'"),
        ("e.gml", "graph [ node [ id 3 ]", "ends inside"),
        ("e.gml", "graph [ ] ]", "did not open"),
        ("e.gml", 'graph [ a "b', "ends with"),
        ("e.graphml", "<graphml><graph><node/></graph></graphml>", "without the attribute 'id'"),
        ("e.graphml", "<graphml><graph>", "not XML"),
        ("e.graphml", "<graphml><graph><hyperedge/></graph></graphml>", "hyperedge"),
        ("e.parquet", "PAR1 is not enough", "cannot be read"),
        ("e.npy", "no array", "not a NumPy array"),
        ("e.npz", "no archive", "not an .npz"),
        ("e.csv.gz", b"no gzip", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_reason(
    tmp_path: Path, name: str, text: str | bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=rf"(?s){name}.*{says}"):
        ingested(tmp_path, path)
    assert not (tmp_path / "graph").exists()


def test_a_bomb_of_entities_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE b [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    path = write(tmp_path / "b.graphml", GRAPHML.format(doctype=bomb))
    with pytest.raises(ParseError, match="document type declaration"):
        ingested(tmp_path, path)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_truncated_archive_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 1 << 40, (4000, 2))
    path = write(tmp_path / f"e.csv{suffix}", "src,dst\n" + lines(noise.tolist(), ","))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ParseError, match=r"e\.csv"):
        ingested(tmp_path, path)


def test_typed_ids_that_are_neither_integers_nor_strings_are_refused(tmp_path: Path) -> None:
    for values, says in (
        (pa.array([1.0, 2.0]), "of type double"),
        (pa.array([1, None]), "row 2.*empty"),
        (pa.array([1, 2**63], pa.uint64()), "row 2.*9223372036854775808"),
    ):
        table = pa.table([pa.array([1, 2]), values], ["src", "dst"])
        pq.write_table(table, tmp_path / "e.parquet")
        with pytest.raises(ParseError, match=says):
            ingested(tmp_path, tmp_path / "e.parquet")


def hostile_sparse(**changes: object) -> dict[str, np.ndarray]:
    good = {
        "format": np.array(b"csr"),
        "shape": np.array([3, 4]),
        "indptr": np.array([0, 1, 2, 3]),
        "indices": np.array([0, 1, 2]),
        "data": np.ones(3, np.float32),
    }
    return {k: np.asarray(v) for k, v in (good | changes).items()}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"indptr": [0, 2, 1, 3]}, "indptr falls after row 1"),
        ({"indptr": [0, 1, 2, 9]}, "indptr runs from 0 to 9"),
        ({"indptr": [0, 1, 3]}, "indptr has 3 entries for 3 rows"),
        ({"indices": [0, 1, 4]}, "indices holds 4, outside 0 … 3"),
        ({"indices": [0, -1, 2]}, "indices holds -1"),
        ({"data": [1.0]}, "a number for each"),
        ({"data": [1.0, np.nan, 1.0]}, r"features\[1, 1\] is nan"),
        ({"data": [1.0, 1.0, np.inf]}, r"features\[2, 2\] is inf"),
        ({"shape": [3, 10**12], "indices": [0, 1, 2]}, "1000000000000 columns"),
        ({"shape": [10**12, 4]}, "entries for 1000000000000 rows"),
        ({"format": b"bsr"}, "format 'bsr'"),
        ({"data": np.array([1, 2, {}], object)}, "Python objects"),
    ],
)
def test_a_hostile_sparse_matrix_is_refused(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    edges = write(tmp_path / "e.csv", "src,dst\n0,1\n1,2\n")
    np.savez(tmp_path / "x.npz", **hostile_sparse(**changes))
    with pytest.raises(InputError, match=says):
        ingested(tmp_path, edges, features=tmp_path / "x.npz")


def test_arrays_that_claim_more_than_they_hold_are_refused(tmp_path: Path) -> None:
    edges = write(tmp_path / "e.csv", "src,dst\n0,1\n")
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    raw = (tmp_path / "x.npy").read_bytes()
    huge = raw.replace(b"(2, 3), }" + b" " * 12, b"(2999999999999, 3), }")
    (tmp_path / "x.npy").write_bytes(huge)
    with pytest.raises(ParseError, match="holds 48 bytes where its header says"):
        ingested(tmp_path, edges, features=tmp_path / "x.npy")
    np.save(tmp_path / "o.npy", np.array([[{}, 1]], object), allow_pickle=True)
    with pytest.raises(ParseError, match="Python objects"):
        ingested(tmp_path, edges, features=tmp_path / "o.npy")
    np.save(tmp_path / "t.npy", np.array([["a", "b"]]))
    with pytest.raises(FeatureError, match="matrix of numbers"):
        ingested(tmp_path, edges, features=tmp_path / "t.npy")


@pytest.mark.parametrize("row", [' 5,"6"', "5,6 ", '"5",6', "", f"5,{2**63 - 1}"])
@pytest.mark.parametrize("place", [0, 450_000, 900_000])
def test_rows_that_are_not_plain_integers_change_no_others(
    tmp_path: Path, row: str, place: int
) -> None:
    plain = [f"{i},{i * 7}" for i in range(900_000)]
    rows = [*plain[:place], row, *plain[place:]]
    (tmp_path / "e.csv").write_text("src,dst\n" + "\n".join(rows) + "\n")
    source = csv.open_edges(tmp_path / "e.csv", ReadOptions())
    chunks = list(source.read("int", 100_000))
    expected = np.insert(np.arange(900_000), place, [5] if row else [])
    assert np.array_equal(np.concatenate([chunk.src for chunk in chunks]), expected)
    ends = np.cumsum([len(chunk.src) for chunk in chunks])
    assert [chunk.first_row for chunk in chunks] == [1, *(ends[:-1] + 1).tolist()]
    (tmp_path / "e.csv").write_text("src,dst\n" + "\n".join(plain) + "\n+5,6\n")
    with pytest.raises(ParseError, match=r"row 900001: .*'\+5'"):
        list(source.read("int", 100_000))
