"""Edges to predict: kept apart from messages, the same in any order, refused when damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampling import Dataset, Graph, GraphStore
from sampling.errors import DamagedError, InputError, ParseError
from sampling.graph.ingest import IngestConfig, ingest
from sampling.graph.linksets import LinkSet, inverse_types


def ingested(tmp_path: Path, **settings: object) -> Dataset:
    list(ingest(IngestConfig(out=tmp_path / "g", overwrite=True, **settings)))  # type: ignore[arg-type]
    return GraphStore.open(tmp_path / "g")


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def ids_of(data: Dataset, links: LinkSet) -> list[list[object]]:
    return [data.ids.to_ids(pair) for pair in links.pairs]


def edges_of(data: Dataset) -> set[tuple[object, ...]]:
    graph = data.graph
    dst = np.repeat(np.arange(graph.num_nodes), graph.in_degrees())
    keys = data.ids.to_ids(np.arange(graph.num_nodes))
    types = np.zeros(graph.num_edges, int) if graph.edge_type is None else graph.edge_type
    return {
        (keys[s], keys[d], graph.edge_types[t])
        for s, d, t in zip(graph.indices, dst, types, strict=True)
    }


def test_a_split_column_keeps_val_and_test_edges_out_of_the_messages(tmp_path: Path):
    path = csv(tmp_path / "e.csv", "src,dst,split\n1,2,train\n2,3,val\n3,7,test\n3,1,\n")
    data = ingested(tmp_path, edges=[path], undirected=True)
    assert {(s, d) for s, d, _ in edges_of(data)} == {(1, 2), (2, 1), (3, 1), (1, 3)}
    assert data.links is not None
    assert ids_of(data, data.links.in_part("val")) == [[2, 3]]
    assert ids_of(data, data.links.in_part("test")) == [[3, 7]]


def test_files_and_a_split_column_say_the_same(tmp_path: Path):
    one = csv(tmp_path / "all.csv", "src,dst,type,split\na,b,x,train\nb,c,y,val\nc,z,x,test\n")
    whole = ingested(tmp_path, edges=[one])
    parts = {n: csv(tmp_path / f"{n}.csv", f"src,dst,type\n{row}\n")
             for n, row in {"e": "a,b,x", "v": "b,c,y", "t": "c,z,x"}.items()}  # fmt: skip
    apart = ingested(tmp_path, edges=[parts["e"]], val_edges=[parts["v"]], test_edges=[parts["t"]])
    assert whole.links is not None
    assert apart.links is not None
    assert edges_of(whole) == edges_of(apart) == {("a", "b", "x")}
    assert whole.graph.edge_types == apart.graph.edge_types == ("x", "y")
    for ours, theirs in zip(
        whole.links.arrays().values(), apart.links.arrays().values(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("reorder", ["none", "degree", "community"])
def test_the_order_of_rows_and_of_nodes_changes_no_link(tmp_path: Path, reorder: str):
    rng = np.random.default_rng(0)
    table = pa.table({
        "src": rng.integers(0, 50, 400), "dst": rng.integers(0, 50, 400),
        "split": rng.choice(["train", "val", "test"], 400),
    })  # fmt: skip
    names = []
    for i in range(2):
        pq.write_table(table.take(pa.array(rng.permutation(400))), tmp_path / f"{i}.parquet")
        data = ingested(tmp_path, edges=[tmp_path / f"{i}.parquet"], reorder=reorder)
        assert data.links is not None
        names.append(sorted(map(tuple, ids_of(data, data.links))))
    assert names[0] == names[1]
    split = table.filter(pa.compute.not_equal(table["split"], "train"))
    assert names[0] == sorted(zip(*(split[c].to_pylist() for c in ("src", "dst")), strict=True))


def test_inverse_edges_are_of_types_of_their_own(tmp_path: Path):
    path = csv(tmp_path / "e.csv", "src,dst,type\n1,2,likes\n2,2,knows\n")
    data = ingested(tmp_path, edges=[path], reverse_edges=True)
    assert edges_of(data) == {
        (1, 2, "likes"), (2, 1, "rev_likes"), (2, 2, "knows"), (2, 2, "rev_knows"),
    }  # fmt: skip
    assert inverse_types(data.graph.edge_types)[
        inverse_types(data.graph.edge_types)
    ].tolist() == list(range(4))
    with pytest.raises(InputError, match="run both ways"):
        ingested(tmp_path, edges=[path], reverse_edges=True, undirected=True)


def test_given_negatives_stand_beside_the_edges(tmp_path: Path):
    path = csv(tmp_path / "e.csv", "src,dst\n1,2\n2,3\n")
    val = csv(tmp_path / "v.csv", "src,dst\n1,3\n")
    none = csv(tmp_path / "n.csv", "src,dst\n3,3\n3,1\n")
    data = ingested(tmp_path, edges=[path], val_edges=[val], val_negatives=[none])
    assert data.links is not None
    assert ids_of(data, data.links.in_part("val", negatives=True)) == [[3, 1], [3, 3]]
    assert ids_of(data, data.links.in_part("val")) == [[1, 3]]


@pytest.mark.parametrize(("policy", "pairs"), [("drop", []), ("create", [["a", "q"]])])
def test_links_to_nodes_in_no_list_follow_the_policy(
    tmp_path: Path, policy: str, pairs: list[list[str]]
):
    nodes, edges = csv(tmp_path / "n.csv", "id\na\nb\n"), csv(tmp_path / "e.csv", "src,dst\na,b\n")
    val = csv(tmp_path / "v.csv", "src,dst\na,q\n")
    given = {"nodes": [nodes], "edges": [edges], "val_edges": [val]}
    data = ingested(tmp_path, **given, on_dangling=policy)
    assert ([] if data.links is None else ids_of(data, data.links)) == pairs
    with pytest.raises(InputError, match=r"v\.csv, row 1: node id 'q' is not listed"):
        ingested(tmp_path, **given)


def linked(**changes: object) -> Dataset:
    graph = Graph.from_edges([0, 1, 2], [1, 2, 3], num_nodes=5, edge_type=[0, 1, 0])
    links = LinkSet.of([[0, 3], [4, 1], [2, 0]], [2, 3, 3], [1, 1, 0], [0, 1, 0], [5, 6, 7])
    columns = {name: getattr(links, name) for name in LinkSet.__slots__} | changes
    return Dataset.in_memory(graph, links=LinkSet(**columns))  # type: ignore[arg-type]


def test_links_are_stored_and_opened(tmp_path: Path):
    before = linked()
    GraphStore.write(tmp_path / "g", before)
    after = GraphStore.open(tmp_path / "g")
    assert before.links is not None
    assert after.links is not None
    for name, array in before.links.arrays().items():
        np.testing.assert_array_equal(after.links.arrays()[name], array)


BAD = [
    ("pairs", np.array([[0, 3], [4, 5], [2, 0]]), "names nodes that are not there"),
    ("pairs", np.array([[0, 3], [-1, 1], [2, 0]]), "names nodes that are not there"),
    ("pairs", np.array([[0, 3.5], [1, 1], [2, 0]]), "links is float64"),
    ("pairs", np.array([0, 3, 1]), "has shape"),
    ("split", np.array([2, 3, 1], np.uint8), "link_split holds unknown codes"),
    ("split", np.array([2, 3], np.uint8), "has shape"),
    ("labels", np.array([1, 1, 2], np.uint8), "link_labels holds unknown codes"),
    ("types", np.array([0, 1, 2], np.int16), "link_types holds unknown codes"),
    ("types", np.array([0, 1, 1], np.int64), "link_types is int64"),
    ("times", np.array([1.0, 2.0, 3.0]), "link_times is float64"),
]


@pytest.mark.parametrize(("name", "values", "message"), BAD)
def test_hostile_links_are_refused(tmp_path: Path, name: str, values: object, message: str):
    GraphStore.write(tmp_path / "g", linked(**{name: values}))
    with pytest.raises(DamagedError, match=message):
        GraphStore.open(tmp_path / "g")


pair = st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from([2, 3]))


@settings(deadline=None)
@given(st.lists(pair, max_size=20), st.randoms())
def test_a_link_set_is_the_same_from_any_order(rows: list[tuple[int, int, int]], random):
    shuffled = random.sample(rows, len(rows))
    one, other = (
        LinkSet.of([r[:2] for r in some], [r[2] for r in some]) for some in (rows, shuffled)
    )
    np.testing.assert_array_equal(one.pairs, other.pairs)
    np.testing.assert_array_equal(one.split, other.split)
    assert len(one.distinct()) == len(set(rows))


def test_more_links_than_memory_has_room_for_are_refused():
    from sampling.graph.linksets import HeldOut

    held_out = HeldOut(64)
    with pytest.raises(InputError, match="larger --memory"):
        held_out.add(np.arange(2), np.arange(2), 2, 1, None, None)


def test_one_file_of_negatives_gives_each_part_its_own_rows(tmp_path: Path):
    path = csv(tmp_path / "e.csv", "src,dst,split\n1,2,train\n2,3,val\n3,4,test\n")
    none = csv(tmp_path / "n.csv", "src,dst,split\n3,1,valid\n4,1,test\n4,2,test\n")
    data = ingested(tmp_path, edges=[path], val_negatives=[none], test_negatives=[none])
    assert data.links is not None
    assert ids_of(data, data.links.in_part("val", negatives=True)) == [[3, 1]]
    assert ids_of(data, data.links.in_part("test", negatives=True)) == [[4, 1], [4, 2]]


@pytest.mark.parametrize("rows", ["a\tlikes\tb\nb\tsees\tc\n", "1\t7\t2\n2\t8\t3\n"])
def test_names_given_for_columns_stand_for_a_header(tmp_path: Path, rows: str):
    bare = csv(tmp_path / "bare.txt", rows)
    headed = csv(tmp_path / "headed.tsv", "src\ttype\tdst\n" + rows)
    one = edges_of(ingested(tmp_path, edges=[headed]))
    assert edges_of(ingested(tmp_path, edges=[bare], header=["src", "type", "dst"])) == one
    assert len(one) == 2


def test_a_header_of_plain_integers_loses_no_row(tmp_path: Path):
    bare = csv(tmp_path / "bare.txt", "1,2\n2,3\n")
    data = ingested(tmp_path, edges=[bare], header=["src", "dst"])
    assert {(s, d) for s, d, _ in edges_of(data)} == {(1, 2), (2, 3)}


def test_a_header_of_another_width_is_refused(tmp_path: Path):
    bare = csv(tmp_path / "bare.txt", "a\tlikes\tb\n")
    with pytest.raises(ParseError, match="has 3 columns, and 2 names"):
        ingested(tmp_path, edges=[bare], header=["src", "dst"])
