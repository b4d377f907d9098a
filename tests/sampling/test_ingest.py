"""From files to a graph directory: numbers, labels, splits, memory, and what is refused."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampling import Graph, GraphStore
from sampling.errors import ExistsError, FeatureError, InputError, ParseError
from sampling.graph.edges import Edges, EdgeSink, EdgeTypes
from sampling.graph.idset import IdCollector
from sampling.graph.ingest import IngestConfig, IngestReport, ingest
from sampling.graph.store import Dataset
from sampling.graph.synthetic import RmatConfig, synthesize

EDGES = "src,dst\n5,9\n9,7\n7,5\n5,9\n"


def ingested(out: Path, *edges: Path, **options: object) -> Dataset:
    """The graph of some files."""
    for _ in ingest(IngestConfig(edges=edges, out=out / "graph", overwrite=True, **options)):
        pass
    return GraphStore.open(out / "graph")


def digests(directory: Path) -> dict[str, str]:
    """What every array file of a graph holds, byte by byte."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.glob("*.npy")}


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def table(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


# --- numbers ------------------------------------------------------------------------------------


def test_nodes_of_edges_alone_are_numbered_by_their_sorted_ids(tmp_path: Path) -> None:
    data = ingested(tmp_path, text(tmp_path / "e.csv", "src,dst\n-3,90\n90,-3\n7,8\n"))
    assert data.ids.to_ids(np.arange(4)) == [-3, 7, 8, 90]
    data = ingested(
        tmp_path, text(tmp_path / "e.csv", "src,dst\nb,é\n10,Z\n9,b\n"), id_type="string"
    )
    assert data.ids.to_ids(np.arange(5)) == ["10", "9", "Z", "b", "é"]


def test_listed_nodes_keep_their_order_within_each_type(tmp_path: Path) -> None:
    nodes = text(tmp_path / "n.csv", "id,type,label\nx,user,2\ny,item,1\nz,user,\nw,item,-1\n")
    data = ingested(tmp_path, text(tmp_path / "e.csv", "src,dst\nx,y\n"), nodes=[nodes])
    assert data.ids.to_ids(np.arange(4)) == ["y", "w", "x", "z"]
    assert [(t.name, t.start, t.end) for t in data.graph.node_types] == [
        ("item", 0, 2),
        ("user", 2, 4),
    ]
    assert data.meta.labels is not None and data.meta.labels.classes == [1, 2]
    assert data.labels is not None and data.labels.tolist() == [0, -1, 1, -1]


def test_integer_ids_are_text_where_it_is_asked_for(tmp_path: Path) -> None:
    rows = [f"{i},{i + 1}\n" for i in range(50)]
    edges = text(tmp_path / "e.csv", "src,dst\n" + "".join(rows) + "a,1\n")
    with pytest.raises(ParseError, match=r"row 51.*'a' where other ids are integers"):
        ingested(tmp_path, edges)
    assert ingested(tmp_path, edges, id_type="string").ids.is_string


def test_edge_types_are_coded_by_name_and_one_type_costs_nothing(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", "src,dst,type\n0,1,likes\n1,0,buys\n2,0,likes\n")
    graph = ingested(tmp_path, edges).graph
    assert graph.edge_types == ("buys", "likes")
    assert graph.edge_type is not None and graph.edge_type.tolist() == [0, 1, 1]
    graph = ingested(tmp_path, text(edges, "src,dst,type\n0,1,likes\n1,0,likes\n")).graph
    assert graph.edge_types == ("likes",) and graph.edge_type is None


@pytest.mark.parametrize(
    ("times", "stored", "unit"),
    [
        (["3", "1"], [1, 3], None),
        (["1289241911.72836", "2"], [2_000_000, 1_289_241_911_728_360], "microseconds"),
        (["1970-01-02 00:00:00", "1970-01-01 00:00:01"], [10**6, 86400 * 10**6], "microseconds"),
    ],
)
def test_times_are_whole_or_microseconds(
    tmp_path: Path, times: list[str], stored: list[int], unit: str | None
) -> None:
    edges = text(tmp_path / "e.csv", f"src,dst,time\n0,1,{times[0]}\n2,1,{times[1]}\n")
    data = ingested(tmp_path, edges)
    assert data.graph.edge_time is not None and data.graph.edge_time.tolist() == stored
    assert data.meta.provenance.get("time_unit") == unit


def test_undirected_edges_run_both_ways_and_loops_once(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", "src,dst\n0,1\n1,0\n1,2\n2,2\n")
    assert ingested(tmp_path, edges).graph.num_edges == 4
    data = ingested(tmp_path, edges, undirected=True)
    assert data.graph.num_edges == 5
    assert data.meta.provenance["duplicate_edges_dropped"] == 2
    assert ingested(tmp_path, edges, undirected=True, duplicates="keep").graph.num_edges == 7


def test_duplicates_are_edges_equal_in_everything(tmp_path: Path) -> None:
    rows = "0,1,a,5,1.5\n0,1,a,5,1.5\n0,1,a,5,2\n0,1,a,6,1.5\n0,1,b,5,1.5\n0,0,a,5,1.5\n"
    edges = text(tmp_path / "e.csv", "src,dst,type,time,weight\n" + rows)
    assert ingested(tmp_path, edges).graph.num_edges == 6
    assert ingested(tmp_path, edges, duplicates="drop").graph.num_edges == 5


# --- equalities ---------------------------------------------------------------------------------


def random_edges(seed: int, count: int = 3000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "src": rng.integers(0, 400, count) * 1_000_003 - 7,
        "dst": (rng.pareto(1.0, count) * 5 % 400).astype(np.int64) * 1_000_003 - 7,
        "type": rng.choice(["b", "a", "c"], count),
        "time": rng.integers(0, 3, count),
        "weight": rng.choice([0.0, -0.0, 1.5], count),
    }


@pytest.mark.parametrize("names", [("src", "dst"), ("src", "dst", "type", "time", "weight")])
def test_the_order_of_edges_changes_no_byte(tmp_path: Path, names: tuple[str, ...]) -> None:
    columns = random_edges(0)
    order = np.random.default_rng(1).permutation(3000)
    found = []
    for i, rows in enumerate((slice(None), order)):
        part = table(tmp_path / "e.parquet", **{n: columns[n][rows] for n in names})
        data = ingested(tmp_path / str(i), part, undirected=True)
        found.append((digests(tmp_path / str(i) / "graph"), data.meta.fingerprint))
    assert found[0] == found[1]


def test_one_file_equals_several_and_parquet_equals_csv(tmp_path: Path) -> None:
    columns = random_edges(2)
    whole = table(tmp_path / "e.parquet", **columns)
    parts = []
    for i in range(3):
        rows = zip(*(c[i::3].tolist() for c in columns.values()), strict=True)
        body = "".join(",".join(map(str, row)) + "\n" for row in rows)
        parts.append(text(tmp_path / f"{i}.csv", ",".join(columns) + "\n" + body))
    assert ingested(tmp_path / "a", whole).meta.fingerprint == (
        ingested(tmp_path / "b", *parts).meta.fingerprint
    )


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("hub", [True, False])
def test_spilled_edges_end_in_the_same_bytes(tmp_path: Path, plain: bool, hub: bool) -> None:
    rng = np.random.default_rng(3)
    n, m = 40_000, 60_000
    src, dst = rng.integers(0, n, m).astype(np.int32), rng.integers(0, n, m).astype(np.int32)
    if hub:
        dst[rng.random(m) < 0.5] = 12_345
    more = {} if plain else {
        "type": rng.integers(0, 3, m).astype(np.int16),
        "time": rng.integers(0, 9, m),
        "weight": rng.random(m).astype(np.float32),
    }  # fmt: skip
    edges, found = Edges(src, dst, **more), []
    for name, free in (("memory", 1 << 30), ("disk", 400_000)):
        (tmp_path / name).mkdir()
        types = EdgeTypes()
        types.encode(pa.array(["z", "y", "x"], pa.large_string()))
        with EdgeSink(tmp_path / name, n, free, types, 2) as sink:
            for start in range(0, m, 5000):
                sink.add(edges.take(np.arange(start, start + 5000)))
            list(sink.finish(drop_duplicates=True))
        found.append(digests(tmp_path / name))
        assert (sink.num_spilled > 0) == (name == "disk")
    assert found[0] == found[1]
    if plain:
        indptr = np.load(tmp_path / "disk" / "indptr.npy", allow_pickle=False)
        pairs = np.unique(np.stack([dst, src]), axis=1)
        assert np.array_equal(np.load(tmp_path / "disk" / "indices.npy"), pairs[1])
        assert np.array_equal(np.diff(indptr), np.bincount(pairs[0], minlength=n))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-9, 9)), min_size=1),
    st.booleans(),
)
def test_any_integer_edges_come_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int]], undirected: bool
) -> None:
    out = tmp_path_factory.mktemp("any")
    src, dst = (np.array(c, np.int64) for c in zip(*pairs, strict=True))
    data = ingested(out, table(out / "e.parquet", src=src, dst=dst), undirected=undirected,
                    duplicates="keep")  # fmt: skip
    back = [(b, a) for a, b in pairs if a != b] if undirected else []
    ends = np.repeat(np.arange(data.graph.num_nodes), data.graph.in_degrees())
    found = zip(data.ids.to_ids(data.graph.indices), data.ids.to_ids(ends), strict=True)
    assert sorted(found) == sorted(pairs + back)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1))
def test_any_text_edges_come_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    out = tmp_path_factory.mktemp("any")
    columns = [pa.array(c, pa.string()) for c in zip(*pairs, strict=True)]
    data = ingested(out, table(out / "e.parquet", src=columns[0], dst=columns[1]))
    ends = np.repeat(np.arange(data.graph.num_nodes), data.graph.in_degrees())
    found = zip(data.ids.to_ids(data.graph.indices), data.ids.to_ids(ends), strict=True)
    assert sorted(found) == sorted(pairs)
    ids = data.ids.to_ids(np.arange(data.graph.num_nodes))
    assert [i.encode() for i in ids] == sorted({i.encode() for pair in pairs for i in pair})


def test_ingest_equals_a_graph_made_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    src, dst = rng.integers(0, 50, (2, 400))
    data = ingested(tmp_path, table(tmp_path / "e.parquet", src=src, dst=dst),
                    nodes=[table(tmp_path / "n.parquet", id=np.arange(50))])  # fmt: skip
    graph = Graph.from_edges(src, dst, num_nodes=50)
    assert np.array_equal(data.graph.indptr, graph.indptr)
    assert np.array_equal(data.graph.indices, graph.indices)


@pytest.mark.parametrize("bitmap_ids", [1 << 8, 1 << 30])
def test_collected_ids_are_the_distinct_ones_sorted(bitmap_ids: int) -> None:
    rng, collector = np.random.default_rng(5), IdCollector(1 << 30, bitmap_ids)
    chunks = [rng.integers(-500, 2000, 300) for _ in range(9)]
    for chunk in chunks:
        collector.add(chunk)
    collector.add_range(range(3, 900))
    expected = np.unique(np.concatenate([*chunks, np.arange(3, 900)]))
    assert np.array_equal(collector.sorted(), expected)


@pytest.mark.parametrize("memory", [1 << 12, 1 << 30])
@pytest.mark.parametrize("text", [True, False])
def test_ids_are_collected_alike_with_and_without_an_index(
    monkeypatch: pytest.MonkeyPatch, memory: int, text: bool
) -> None:
    monkeypatch.setattr("sampling.graph.idset.INDEX_FROM", 100)
    rng, collector = np.random.default_rng(5), IdCollector(memory, num_threads=2)
    chunks = [rng.integers(0, 3000, 300) - (1 << 50) for _ in range(40)]
    for chunk in chunks:
        collector.add(pa.array(chunk.astype(str), pa.large_string()) if text else chunk)
    expected = np.unique(np.concatenate(chunks))
    found = collector.sorted()
    if text:
        assert found.to_pylist() == sorted(expected.astype(str).tolist())
    else:
        assert np.array_equal(found, expected)


# --- features, labels, splits -------------------------------------------------------------------


def test_feature_rows_follow_ids_or_the_list(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "x.npy", x)
    edges = text(tmp_path / "e.csv", "src,dst\n2,0\n")
    by_id = text(tmp_path / "n.csv", "id\n2\n0\n1\n")
    for rows, expected in (("auto", x[[2, 0, 1]]), ("id", x[[2, 0, 1]]), ("nodes", x)):
        data = ingested(tmp_path, edges, nodes=[by_id], features=tmp_path / "x.npy",
                        feature_rows=rows)  # fmt: skip
        assert data.features is not None and np.array_equal(data.features.array, expected)
    named = text(tmp_path / "n.csv", "id,type\na,z\nb,y\nc,z\n")
    edges = text(tmp_path / "e.csv", "src,dst\na,c\n")
    data = ingested(tmp_path, edges, nodes=[named], features=tmp_path / "x.npy")
    assert data.ids.to_ids(np.arange(3)) == ["b", "a", "c"]
    assert data.features is not None and np.array_equal(data.features.array, x[[1, 0, 2]])


def test_features_without_a_list_say_how_many_nodes_there_are(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((6, 2)))
    edges = text(tmp_path / "e.csv", "src,dst\n1,3\n")
    assert ingested(tmp_path, edges, features=tmp_path / "x.npy").graph.num_nodes == 6
    with pytest.raises(FeatureError, match=r"x\.npy has 6 rows for 2 nodes"):
        ingested(tmp_path, text(edges, "src,dst\n1,30\n"), features=tmp_path / "x.npy")
    nodes = text(tmp_path / "n.csv", "id\n1\n3\n")
    with pytest.raises(FeatureError, match=r"x\.npy has 6 rows for 2 nodes"):
        ingested(tmp_path, text(edges, "src,dst\n1,3\n"), nodes=[nodes],
                 features=tmp_path / "x.npy")  # fmt: skip


@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16", "int8"])
def test_features_are_stored_as_asked(tmp_path: Path, storage: str) -> None:
    x = np.random.default_rng(6).normal(size=(700, 33)) * 10
    np.save(tmp_path / "x.npy", x)
    edges = text(tmp_path / "e.csv", "src,dst\n1,3\n")
    data = ingested(tmp_path, edges, features=tmp_path / "x.npy", feature_storage=storage)
    assert data.features is not None and data.features.storage == storage
    bound = {"float32": 1e-5, "float16": 0.02, "bfloat16": 0.15, "int8": 0.2}[storage]
    assert np.abs(data.features.rows(0, 700).numpy() - x).max() < bound


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_a_feature_that_is_not_finite_is_named(tmp_path: Path, bad: float, storage: str) -> None:
    x = np.zeros((5, 3))
    x[4, 1] = bad
    np.save(tmp_path / "x.npy", x)
    edges = text(tmp_path / "e.csv", "src,dst\n1,3\n")
    with pytest.raises(FeatureError, match=r"features\[4, 1\]"):
        ingested(tmp_path, edges, features=tmp_path / "x.npy", feature_storage=storage)
    assert not (tmp_path / "graph").exists()


def test_labels_may_be_text_or_real(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", "src,dst\n1,2\n")
    nodes = text(tmp_path / "n.csv", "id,label\n1,b\n2,\n3,10\n4,a\n")
    data = ingested(tmp_path, edges, nodes=[nodes])
    assert data.meta.labels is not None and data.meta.labels.classes == ["10", "a", "b"]
    assert data.labels is not None and data.labels.tolist() == [2, -1, 0, 1]
    data = ingested(tmp_path, edges, nodes=[text(nodes, "id,label\n1,1\n2,\n3,0.5\n")])
    assert data.meta.labels is not None and data.meta.labels.kind == "real"
    assert data.labels is not None and data.labels[[0, 2]].tolist() == [1, 0.5]
    assert np.isnan(data.labels[1])


def test_splits_come_from_words_files_or_chance(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", "src,dst\n0,1\n")
    words = ("train", "Valid", "TEST", "none", "", "dev", "validation")
    rows = "".join(f"{i},{w}\n" for i, w in enumerate(words))
    data = ingested(tmp_path, edges, nodes=[text(tmp_path / "n.csv", "id,split\n" + rows)])
    assert data.splits is not None and data.splits[:, 0].tolist() == [1, 2, 3, 0, 0, 2, 2]
    np.savez(tmp_path / "s.npz", split=np.array([[1, 2], [3, 0]], np.uint8))
    data = ingested(tmp_path, edges, splits=tmp_path / "s.npz")
    assert data.splits is not None and data.splits.tolist() == [[1, 2], [3, 0]]
    nodes = table(tmp_path / "n.parquet", id=np.arange(1000), label=np.arange(1000) % 3 - 1)
    drawn = [ingested(tmp_path, edges, nodes=[nodes], random_split=(0.6, 0.2, 0.1),
                      split_seed=s) for s in (0, 0, 1)]  # fmt: skip
    codes = [d.splits[:, 0] for d in drawn if d.splits is not None]
    assert np.bincount(codes[0]).tolist() == [401, 400, 133, 66] or (
        abs(np.bincount(codes[0]) - [401, 400, 133, 66]).max() <= 1
    )
    assert np.array_equal(codes[0], codes[1]) and not np.array_equal(codes[0], codes[2])
    assert set(codes[0][np.arange(1000) % 3 == 0]) == {0}


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ("id\n5\n9\n7\n9\n", "n.csv, row 4: node id 9 appears twice"),
        ("id\na\nb\na\n", "n.csv, row 3: node id 'a' appears twice"),
        ("id,label\n5,1\n9,inf\n", "row 2.*infinite label"),
        ("id,split\n5,train\n9,tran\n", "row 2.*'tran'"),
        ("id\n5\n\n9\n7.5\n", "7.5.*never floats"),
        ("id,id\n5,5\n", "more than once"),
        ("key\n5\n", "no column 'id' but 'key'"),
        ("id\n5\n9\n", r"e.csv, row 2: node id 7 is not listed \(2 edges name"),
    ],
)
def test_wrong_nodes_are_refused_by_row(tmp_path: Path, nodes: str, says: str) -> None:
    with pytest.raises(InputError, match=f"(?s){says}"):
        ingested(tmp_path, text(tmp_path / "e.csv", EDGES), nodes=[text(tmp_path / "n.csv", nodes)])
    assert list(tmp_path.glob("*graph*")) == []


def test_dangling_edges_are_dropped_or_their_nodes_created(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", EDGES)
    nodes = text(tmp_path / "n.csv", "id,label\n9,1\n5,0\n")
    data = ingested(tmp_path, edges, nodes=[nodes], on_dangling="drop")
    assert data.graph.num_edges == 2 and data.graph.num_nodes == 2
    assert data.meta.provenance["dangling_edges_dropped"] == 2
    data = ingested(tmp_path, edges, nodes=[nodes], on_dangling="create")
    assert data.ids.to_ids(np.arange(3)) == [9, 5, 7] and data.graph.num_edges == 4
    assert data.labels is not None and data.labels.tolist() == [1, 0, -1]
    named = text(tmp_path / "n.csv", "id\nb\n")
    edges = text(tmp_path / "e.csv", "src,dst\nb,z\na,b\n")
    data = ingested(tmp_path, edges, nodes=[named], on_dangling="create")
    assert data.ids.to_ids(np.arange(3)) == ["b", "a", "z"]


def test_ids_of_two_kinds_are_refused(tmp_path: Path) -> None:
    numbers = table(tmp_path / "a.parquet", src=[1], dst=[2])
    words = table(tmp_path / "b.parquet", src=["1"], dst=["2"])
    with pytest.raises(InputError, match="all files must agree"):
        ingested(tmp_path, numbers, words)
    with pytest.raises(ParseError, match="all files must agree"):
        ingested(tmp_path, numbers, nodes=[table(tmp_path / "n.parquet", id=["1", "2"])])


def test_a_column_that_the_user_names_must_be_there(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", "a,b,w\n1,2,3\n")
    columns = {"src": "a", "dst": "b", "weight": "w"}
    data = ingested(tmp_path, edges, columns=columns)
    assert data.graph.edge_weight is not None
    with pytest.raises(ParseError, match=r"no column 'when'.*--time"):
        ingested(tmp_path, edges, columns={**columns, "time": "when"})


def test_unknown_columns_are_ignored_and_reported(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", "src,dst,color\n1,2,red\n")
    *_, last = ingest(IngestConfig(edges=[edges], out=tmp_path / "g"))
    assert last.notes == ("e.csv: ignored columns color",) and last.meta is not None


def test_a_list_of_nodes_without_edges_is_a_graph(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", "src,dst\n")
    data = ingested(tmp_path, edges, nodes=[text(tmp_path / "n.csv", "id\n4\n8\n")])
    assert (data.graph.num_nodes, data.graph.num_edges) == (2, 0)
    for reorder in ("none", "degree", "community"):
        none = ingested(tmp_path, edges, nodes=[text(tmp_path / "n.csv", "id\n")], reorder=reorder)
        assert (none.graph.num_nodes, none.graph.num_edges) == (0, 0)


def test_an_existing_graph_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", EDGES)
    config = {"edges": [edges], "out": tmp_path / "g"}
    assert [r.meta.version for r in ingest(IngestConfig(**config)) if r.meta] == [1]
    with pytest.raises(ExistsError):
        list(ingest(IngestConfig(**config)))
    assert [r.meta.version for r in ingest(IngestConfig(**config, overwrite=True)) if r.meta] == [2]
    (tmp_path / "mine").mkdir()
    text(tmp_path / "mine" / "thesis.txt", "years of work")
    with pytest.raises(InputError, match="is not overwritten"):
        list(ingest(IngestConfig(edges=[edges], out=tmp_path / "mine", overwrite=True)))
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_too_little_memory_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", EDGES)
    with pytest.raises(InputError, match="at least 512 MiB"):
        ingested(tmp_path, edges, memory_bytes=100 << 20)
    huge = "%%MatrixMarket matrix coordinate pattern general\n99999999999 99999999999 0\n"
    with pytest.raises(InputError, match="raise it to at least"):
        ingested(tmp_path, text(tmp_path / "e.mtx", huge), memory_bytes=1 << 30)


def test_reports_say_how_far_it_is(tmp_path: Path) -> None:
    edges = table(tmp_path / "e.parquet", src=np.arange(100), dst=np.arange(100))
    reports: list[IngestReport] = list(ingest(IngestConfig(edges=[edges], out=tmp_path / "g")))
    stages = list(dict.fromkeys(r.stage for r in reports))
    assert stages == ["ids", "edges", "build", "done"]
    assert all(r.total_rows == 100 for r in reports if r.stage in ("ids", "edges"))
    assert all(r.meta is None for r in reports[:-1])
    assert reports[-1].bytes == sum(p.stat().st_size for p in (tmp_path / "g").iterdir())


def test_equal_inputs_leave_equal_directories(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", EDGES)
    for out in ("a", "b"):
        list(ingest(IngestConfig(edges=[edges], out=tmp_path / out / "graph")))
    files = [sorted((p.name, p.read_bytes()) for p in (tmp_path / o / "graph").iterdir())
             for o in ("a", "b")]  # fmt: skip
    assert files[0] == files[1]


# --- long lines, dead processes, memory ---------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from sampling.errors import GnnError
from sampling.graph.ingest import IngestConfig, ingest
edges, out, memory = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def peak():  # ru_maxrss would count the parent as well
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10
start = peak()
try:
    for report in ingest(IngestConfig(edges=[edges], out=out, memory_bytes=memory or None)):
        print(report.stage, flush=True)
    print("fingerprint", report.meta.fingerprint)
except GnnError as error:
    print("error", error)
print("peak", peak(), "start", start)
"""


def child(*arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", CHILD, *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("name", ["e.csv", "e.txt", "e.gml", "e.graphml"])
def test_an_endless_line_is_refused_early(tmp_path: Path, name: str) -> None:
    starts = {"e.csv": "src,dst\n1,", "e.txt": "1 2\n3 ", "e.gml": 'graph [ label "',
              "e.graphml": '<graphml><graph id="'}  # fmt: skip
    with (tmp_path / name).open("wb") as file:
        file.write(starts[name].encode())
        for _ in range(64):
            file.write(b"7" * (1 << 20))
    with child(tmp_path / name, tmp_path / "g", 0) as process:
        output, _ = process.communicate(timeout=60)
    assert f"error {tmp_path / name}" in output and "MiB" in output, output
    words = output.split()
    peak, start = int(words[-3]), int(words[-1])
    assert peak - start < 130 << 20
    assert not (tmp_path / "g").exists()


def test_a_killed_ingest_leaves_nothing_and_the_next_one_sweeps(tmp_path: Path) -> None:
    edges = tmp_path / "e.parquet"
    rng = np.random.default_rng(7)
    table(edges, src=rng.integers(0, 10**6, 10**6), dst=rng.integers(0, 10**6, 10**6))
    with child(edges, tmp_path / "g", 0) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "edges":
            pass
        os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.05)
    assert not (tmp_path / "g").exists()
    assert len(list(tmp_path.glob(".g.*"))) == 1
    list(ingest(IngestConfig(edges=[edges], out=tmp_path / "g")))
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["e.parquet", "g"]


def test_the_memory_bound_is_kept_and_changes_no_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    schema = pa.schema([("src", pa.int32()), ("dst", pa.int32())])
    with pq.ParquetWriter(tmp_path / "e.parquet", schema, use_dictionary=False) as writer:
        for _ in range(20):
            columns = [rng.integers(0, 500_000, 10**6, dtype=np.int32) for _ in range(2)]
            writer.write_batch(pa.record_batch(columns, schema))
    prints, bound = set(), 560 << 20
    for memory in (bound, 0):
        with child(tmp_path / "e.parquet", tmp_path / f"g{memory}", memory) as process:
            output, _ = process.communicate(timeout=200)
        words = output.split()
        prints.add(words[words.index("fingerprint") + 1])
        if memory:
            assert int(words[-3]) <= bound, output
    assert len(prints) == 1


def test_text_among_integer_ids_is_refused_unless_it_is_asked_for(tmp_path: Path):
    edges = tmp_path / "e.csv"
    for text in ("src,dst\n1,2\n3,x\n", "src,dst\nx,1\n2,3\n", "src,dst\n1,nan\n"):
        edges.write_text(text)
        with pytest.raises(ParseError, match="--id-type string"):
            list(ingest(IngestConfig(edges=[edges], out=tmp_path / "g")))
    list(ingest(IngestConfig(edges=[edges], id_type="string", out=tmp_path / "g")))
    assert GraphStore.open(tmp_path / "g").ids.to_ids(np.arange(2)) == ["1", "nan"]


def test_whole_labels_with_gaps_are_classes(tmp_path: Path):
    (tmp_path / "e.csv").write_text("src,dst\n0,1\n")
    for column, kind in (("1.0,nan,3.0", "class"), ("1.5,nan,3.0", "real"), ("1,,3", "class")):
        rows = [f"{i},{label}" for i, label in enumerate(column.split(","))]
        (tmp_path / "n.csv").write_text("id,label\n" + "\n".join(rows) + "\n")
        config = IngestConfig(
            edges=[tmp_path / "e.csv"], nodes=[tmp_path / "n.csv"], out=tmp_path / "g",
            overwrite=True,
        )  # fmt: skip
        *_, report = ingest(config)
        assert report.meta.labels.kind == kind
        if kind == "class":
            assert report.meta.labels.classes == [1, 3]


def test_overwrite_replaces_nothing_but_graphs(tmp_path: Path):
    (tmp_path / "e.csv").write_text("src,dst\n0,1\n")
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    plain = tmp_path / "plain"
    plain.write_text("a file")
    for out in (precious, plain):
        with pytest.raises(InputError, match="is not overwritten"):
            list(ingest(IngestConfig(edges=[tmp_path / "e.csv"], out=out, overwrite=True)))
        with pytest.raises(InputError, match="is not overwritten"):
            list(synthesize(RmatConfig(nodes=4, edges=4), out, overwrite=True))
    assert (precious / "thesis.txt").read_text() == "years of work"
    assert plain.read_text() == "a file"


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"version": "x"}', '{"version": 6}'])
def test_a_graph_with_a_damaged_manifest_is_replaced_where_that_is_asked_for(
    tmp_path: Path, damage: str
) -> None:
    config = {"edges": [text(tmp_path / "e.csv", EDGES)], "out": tmp_path / "g"}
    list(ingest(IngestConfig(**config)))
    (tmp_path / "g/graph.json").write_text(damage)
    with pytest.raises(ExistsError):
        list(ingest(IngestConfig(**config)))
    *_, last = ingest(IngestConfig(**config, overwrite=True))
    assert last.meta is not None and last.meta.version == (7 if "6" in damage else 1)
    assert GraphStore.open(tmp_path / "g").meta == last.meta


def test_zeros_before_an_integer_id_are_kept_where_ids_are_text(tmp_path: Path) -> None:
    edges = text(tmp_path / "e.csv", "src,dst\n007,7\n")
    assert ingested(tmp_path, edges).ids.to_ids(np.arange(1)) == [7]
    assert ingested(tmp_path, edges, id_type="string").ids.to_ids(np.arange(2)) == ["007", "7"]


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_a_value_that_is_no_number_is_refused_with_its_file(tmp_path: Path, storage: str):
    (tmp_path / "e.csv").write_text("src,dst\n0,1\n")
    np.save(tmp_path / "bad.npy", np.array([[1.0], [np.nan]], np.float32))
    config = IngestConfig(edges=[tmp_path / "e.csv"], features=tmp_path / "bad.npy",
                          out=tmp_path / "g", feature_storage=storage)  # fmt: skip
    with pytest.raises(FeatureError, match=r"^bad\.npy: features\[1, 0\] is nan"):
        list(ingest(config))
