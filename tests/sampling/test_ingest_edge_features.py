"""Features of edges and places of nodes, from files to a graph directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from sampling import Graph, GraphStore
from sampling.errors import FeatureError, InputError, ParseError
from sampling.graph.ingest import IngestConfig, TypedFile, ingest
from sampling.graph.store import Dataset

NODES, EDGES, WIDTH = 60, 900, 3
NAMES = tuple(f"f{i}" for i in range(WIDTH))


def ingested(out: Path, *edges: Path | TypedFile, **options: Any) -> Dataset:
    for _ in ingest(IngestConfig(edges=edges, out=out / "graph", overwrite=True, **options)):
        pass
    return GraphStore.open(out / "graph")


def columns_of(seed: int = 0) -> dict[str, Any]:
    """Edges of which many are parallel, and some equal in everything."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "src": rng.integers(0, NODES, EDGES),
        "dst": rng.integers(0, 6, EDGES),
        "time": rng.integers(0, 2, EDGES),
    }
    return columns | {name: rng.integers(-1, 2, EDGES) / 2 for name in NAMES}


def written(path: Path, columns: dict[str, Any], order: Any = slice(None)) -> Path:
    table = pa.table({name: column[order] for name, column in columns.items()})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        tab = pacsv.WriteOptions(delimiter="\t" if path.suffix == ".tsv" else ",")
        pacsv.write_csv(table, path, tab)
    return path


def rows_of(columns: dict[str, Any]) -> np.ndarray:
    return np.stack([columns[name] for name in NAMES], axis=1).astype(np.float32)


def listed(graph: Graph, times: bool = True) -> list[tuple[Any, ...]]:
    """Every edge with all that it has, sorted."""
    assert graph.edge_features is not None
    dst = np.repeat(np.arange(graph.num_nodes), graph.in_degrees())
    time = graph.edge_time if times and graph.edge_time is not None else np.zeros(len(dst), int)
    parts = zip(graph.indices.tolist(), dst.tolist(), time.tolist(),
                map(tuple, graph.edge_features.tolist()), strict=True)  # fmt: skip
    return sorted(parts)


def given(columns: dict[str, Any], back: bool = False) -> list[tuple[Any, ...]]:
    ends = ("dst", "src") if back else ("src", "dst")
    parts = (columns[name].tolist() for name in (*ends, "time"))
    return sorted(zip(*parts, map(tuple, rows_of(columns).tolist()), strict=True))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_features_follow_their_edges_through_the_sort(tmp_path: Path, suffix: str) -> None:
    columns = columns_of()
    edges = written(tmp_path / f"e{suffix}", columns)
    data = ingested(tmp_path, edges, edge_features=NAMES)
    assert data.meta.arrays["edge_features"].shape == (EDGES, WIDTH)
    assert listed(data.graph) == given(columns)
    assert data.meta.provenance["edge_features"] == list(NAMES)
    assert not data.meta.provenance["ignored_columns"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("reorder", ["none", "degree"])
def test_the_order_of_edges_changes_no_byte(tmp_path: Path, suffix: str, reorder: str) -> None:
    columns, rng = columns_of(), np.random.default_rng(1)
    prints = {
        ingested(
            tmp_path, written(tmp_path / f"e{suffix}", columns, rng.permutation(EDGES)),
            edge_features=NAMES, reorder=reorder,
        ).meta.fingerprint
        for _ in range(3)
    }  # fmt: skip
    assert len(prints) == 1


def test_a_graph_made_in_memory_is_the_same_in_any_order(tmp_path: Path) -> None:
    columns, rng = columns_of(), np.random.default_rng(2)
    data = ingested(tmp_path, written(tmp_path / "e.parquet", columns), edge_features=NAMES)
    for _ in range(2):
        order = rng.permutation(EDGES)
        graph = Graph.from_edges(
            columns["src"][order], columns["dst"][order], num_nodes=NODES,
            edge_time=columns["time"][order], edge_features=rows_of(columns)[order],
        )  # fmt: skip
        assert graph.edge_features is not None and data.graph.edge_features is not None
        assert graph.edge_features.tobytes() == data.graph.edge_features.tobytes()
        assert graph.indices.tobytes() == data.graph.indices.tobytes()


def test_edges_that_run_back_have_the_same_row(tmp_path: Path) -> None:
    columns = columns_of()
    loop = columns["src"] == columns["dst"]
    straight = {name: column[~loop] for name, column in columns.items()}
    edges = written(tmp_path / "e.parquet", columns)
    both = ingested(tmp_path, edges, edge_features=NAMES, undirected=True).graph
    expected = set(given(columns)) | set(given(straight, back=True))
    assert listed(both) == sorted(expected)
    inverse = ingested(tmp_path, edges, edge_features=NAMES, reverse_edges=True).graph
    assert listed(inverse) == sorted(given(columns) + given(columns, back=True))


def test_edges_are_equal_only_where_their_features_are(tmp_path: Path) -> None:
    columns = columns_of()
    edges = written(tmp_path / "e.parquet", columns)
    kept = ingested(tmp_path, edges, edge_features=NAMES, duplicates="drop").graph
    assert listed(kept) == sorted(set(given(columns)))
    assert len(set(given(columns))) < EDGES


def test_edges_that_are_left_out_take_their_rows_along(tmp_path: Path) -> None:
    edges = tmp_path / "e.csv"
    edges.write_text("src,dst,split,f\n0,1,train,1\n7,1,train,2\n1,0,test,3\n1,0,train,4\n")
    nodes = tmp_path / "n.csv"
    nodes.write_text("id\n0\n1\n")
    options = {"nodes": [nodes], "on_dangling": "drop"}
    data = ingested(tmp_path, edges, edge_features=["f"], **options)
    assert listed(data.graph) == [(0, 1, 0, (1.0,)), (1, 0, 0, (4.0,))]
    assert data.links is not None and len(data.links) == 1
    np.save(tmp_path / "rows.npy", np.array([[1.0], [2], [3], [4]]))
    again = ingested(tmp_path, edges, edge_features=tmp_path / "rows.npy", **options)
    assert again.meta.fingerprint == data.meta.fingerprint


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_of_rows_equals_columns(tmp_path: Path, suffix: str) -> None:
    columns = columns_of()
    edges = written(tmp_path / f"e{suffix}", columns)
    np.save(tmp_path / "rows.npy", rows_of(columns).astype(np.float64))
    by_columns = ingested(tmp_path, edges, edge_features=NAMES, undirected=True)
    by_rows = ingested(tmp_path, edges, edge_features=tmp_path / "rows.npy", undirected=True)
    assert by_rows.meta.fingerprint == by_columns.meta.fingerprint
    assert by_rows.meta.provenance["edge_features"]["file"] == "rows.npy"


def test_files_of_types_have_the_same_columns(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("src,dst,f\n0,1,0.5\n")
    second.write_text("src,dst,f\n1,0,-0.5\n")
    files = [TypedFile(first, "a"), TypedFile(second, "b")]
    graph = ingested(tmp_path, *files, edge_features=["f"]).graph
    assert listed(graph) == [(0, 1, 0, (0.5,)), (1, 0, 0, (-0.5,))]
    second.write_text("src,dst\n1,0\n")
    with pytest.raises(ParseError, match=r"b\.csv: has no column 'f'.*--edge-features"):
        ingested(tmp_path, *files, edge_features=["f"])


@pytest.mark.parametrize(
    ("content", "features", "says"),
    [
        ("src,dst,f\n0,1,1\n1,0,nan\n", ["f"], r"row 2.*'f' holds nan.*finite"),
        ("src,dst,f\n0,1,1\n1,0,-inf\n", ["f"], r"row 2.*'f' holds -inf"),
        ("src,dst,f\n0,1,1e39\n", ["f"], r"row 1.*'f' holds inf"),
        ("src,dst,f\n0,1,\n", ["f"], r"row 1.*'f' is empty"),
        ("src,dst,f\n0,1,1\n0,1,fast\n", ["f"], r"row 2.*'f' holds 'fast'"),
        ("src,dst,f\n0,1,1\n", ["g"], r"no column 'g'.*--edge-features"),
        ("src,dst,f\n0,1,1\n", ["f", "f"], r"'f' more than once"),
        ("src,dst,f,f\n0,1,1,2\n", ["f"], r"'f' more than once"),
        ("src,dst,type\n0,1,a\n", ["type"], r"'type' is of type .*numbers"),
    ],
)
def test_wrong_columns_are_refused_by_row(
    tmp_path: Path, content: str, features: list[str], says: str
) -> None:
    edges = tmp_path / "e.csv"
    edges.write_text(content)
    with pytest.raises(InputError, match=says):
        ingested(tmp_path, edges, edge_features=features)
    assert not (tmp_path / "graph").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("e.txt", "0 1\n1 2\n"), ("e.mtx", "%%MatrixMarket matrix coordinate pattern general\n2 2 1\n"
                               "1 2\n")],
)  # fmt: skip
def test_columns_of_formats_without_any_are_refused_by_name(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ParseError, match=r"is (snap|matrix-market); edge features are columns of"):
        ingested(tmp_path, tmp_path / name, edge_features=["f"])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.ones((2, 2)), r"has 2 rows and e\.csv more than 2 edges"),
        (np.ones((4, 2)), r"has 4 rows and e\.csv 3 edges"),
        (np.ones(3), r"one row per edge"),
        (np.array([[0, 1], [0, 1], [0, np.nan]]), r"rows\.npy.*row 3.*'1' holds nan"),
    ],
)
def test_wrong_files_of_rows_are_refused(tmp_path: Path, rows: np.ndarray, says: str) -> None:
    edges, path = tmp_path / "e.csv", tmp_path / "rows.npy"
    edges.write_text("src,dst\n0,1\n1,0\n1,1\n")
    np.save(path, rows)
    with pytest.raises(InputError, match=says):
        ingested(tmp_path, edges, edge_features=path)
    with pytest.raises(InputError, match=r"one file of edges, and 2 are given"):
        ingested(tmp_path, edges, edges, edge_features=path)


def test_a_format_that_counts_otherwise_takes_no_rows(tmp_path: Path) -> None:
    edges, path = tmp_path / "e.gml", tmp_path / "rows.npy"
    edge = "edge [ source 0 target 1 ]"
    edges.write_text(f"graph [ directed 1 node [ id 0 ] node [ id 1 ] {edge} {edge} ]")
    np.save(path, np.ones((2, 1)))
    assert ingested(tmp_path, edges, edge_features=path).graph.edge_features is not None
    mixed = '<edge source="0" target="1" directed="false"/><edge source="0" target="1"/>'
    edges = tmp_path / "e.graphml"
    edges.write_text(
        '<graphml><graph edgedefault="directed"><node id="0"/><node id="1"/>'
        f"{mixed}</graph></graphml>"
    )
    with pytest.raises(InputError, match="are not counted by rows"):
        ingested(tmp_path, edges, edge_features=path)


CHILD = """
import sys
from pathlib import Path
from sampling.graph.ingest import IngestConfig, ingest
edges, out, memory = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for report in ingest(IngestConfig(
    edges=[edges], out=out, edge_features=[f"f{i}" for i in range(8)], memory_bytes=memory or None
)):
    pass
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10
print(report.meta.fingerprint, peak)
"""


def test_the_memory_bound_is_kept_and_changes_no_byte(tmp_path: Path) -> None:
    rng, names = np.random.default_rng(8), [f"f{i}" for i in range(8)]
    schema = pa.schema(
        [("src", pa.int32()), ("dst", pa.int32()), *((n, pa.float32()) for n in names)]
    )
    with pq.ParquetWriter(tmp_path / "e.parquet", schema, use_dictionary=False) as writer:
        for _ in range(3):
            ends = [rng.integers(0, 200_000, 400_000, dtype=np.int32) for _ in range(2)]
            rows = [rng.random(400_000, dtype=np.float32) for _ in names]
            writer.write_batch(pa.record_batch([*ends, *rows], schema))
    prints, bound = set(), 512 << 20
    for memory in (bound, 0):
        words = [sys.executable, "-c", CHILD, tmp_path / "e.parquet", tmp_path / f"g{memory}"]
        run = subprocess.run([*map(str, words), str(memory)], capture_output=True, timeout=200)
        fingerprint, peak = run.stdout.split()
        prints.add(fingerprint)
        assert not memory or int(peak) <= bound
    assert len(prints) == 1


# --- positions ----------------------------------------------------------------------------------


def test_positions_come_from_a_file_or_from_columns(tmp_path: Path) -> None:
    edges, nodes, path = (tmp_path / name for name in ("e.csv", "n.csv", "p.npy"))
    edges.write_text("src,dst\n12,10\n11,12\n11,11\n")
    nodes.write_text("id,type,x,y,z\n12,b,1,2,3\n10,a,4,5,-6.5\n11,b,7,8,9\n")
    rows = np.array([[1, 2, 3], [4, 5, -6.5], [7, 8, 9]])
    np.save(path, rows)
    for reorder in ("none", "degree"):
        options = {"nodes": [nodes], "reorder": reorder}
        by_file = ingested(tmp_path, edges, positions=path, **options)
        by_columns = ingested(tmp_path, edges, positions=["x", "y", "z"], **options)
        assert by_file.meta.fingerprint == by_columns.meta.fingerprint
        assert by_file.positions is not None and by_file.positions.dtype == np.float32
        at = by_file.ids.find_ints(np.array([12, 10, 11]))
        assert by_file.positions[at].tolist() == rows.tolist()
    assert by_file.meta.provenance["positions"]["file"] == "p.npy"


def test_rows_of_positions_say_how_many_nodes_there_are(tmp_path: Path) -> None:
    edges, path = tmp_path / "e.csv", tmp_path / "p.npy"
    edges.write_text("src,dst\n3,0\n")
    np.save(path, np.arange(15).reshape(5, 3))
    data = ingested(tmp_path, edges, positions=path)
    assert data.graph.num_nodes == 5
    assert data.positions is not None and data.positions[3].tolist() == [9, 10, 11]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.ones((2, 2)), "has 2 columns; positions are x, y and z"),
        (np.ones((4, 3)), "4 rows for 2 nodes"),
        (np.array([[0, 0, 0], [0, np.inf, 0]]), r"p\.npy.*row 2.*'1' holds inf"),
    ],
)
def test_wrong_files_of_positions_are_refused(tmp_path: Path, rows: np.ndarray, says: str) -> None:
    edges, nodes, path = (tmp_path / name for name in ("e.csv", "n.csv", "p.npy"))
    edges.write_text("src,dst\na,b\n")
    nodes.write_text("id\na\nb\n")
    np.save(path, rows)
    with pytest.raises((FeatureError, ParseError), match=says):
        ingested(tmp_path, edges, nodes=[nodes], positions=path)


@pytest.mark.parametrize(
    ("content", "columns", "says"),
    [
        ("id,x,y,z\n0,0,0,0\n1,0,nan,0\n", "xyz", r"row 2.*'y' holds nan"),
        ("id,x,y\n0,0,0\n1,0,0\n", "xy", "2 columns of positions"),
        ("id,x,y\n0,0,0\n1,0,0\n", "xyz", r"no column 'z'.*--positions"),
        (None, "xyz", "none are given; give --nodes"),
    ],
)
def test_wrong_columns_of_positions_are_refused(
    tmp_path: Path, content: str | None, columns: str, says: str
) -> None:
    edges, nodes = tmp_path / "e.csv", tmp_path / "n.csv"
    edges.write_text("src,dst\n0,1\n")
    nodes.write_text(content or "")
    with pytest.raises(InputError, match=says):
        ingested(tmp_path, edges, nodes=[nodes] if content else [], positions=list(columns))


def test_nodes_that_only_edges_name_have_no_place(tmp_path: Path) -> None:
    edges, nodes = tmp_path / "e.csv", tmp_path / "n.csv"
    edges.write_text("src,dst\n0,1\n0,2\n")
    nodes.write_text("id,x,y,z\n0,0,0,0\n1,0,1,0\n")
    with pytest.raises(InputError, match="have no position, and the nodes file has"):
        ingested(tmp_path, edges, nodes=[nodes], positions=["x", "y", "z"], on_dangling="create")
