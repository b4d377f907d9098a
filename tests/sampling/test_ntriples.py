"""N-Triples: resources and predicates as W3C writes them, and what is no triple."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from sampling import GraphStore
from sampling.errors import ParseError
from sampling.graph.ingest import IngestConfig, ingest
from sampling.graph.readers.formats import open_edges
from sampling.graph.readers.source import ReadOptions
from sampling.graph.store import Dataset

TRIPLES = """# people
<http://e/ann> <http://e/knows> <http://e/bob> .
_:b0 <http://e/knows> <http://e/ann>. # said ann

<http://e/ann><http://e/name>"Ann \\"A\\"@x"@en .
<http://e/bob> <http://e/name> "B\\u00f6b"^^<http://e/text> .
<http://e/\\u00e9> <http://e/likes> <http://e/ann> .\r
"""


def triples(path: Path, literals: str = "drop") -> list[tuple[str, str, str]]:
    source = open_edges(path, ReadOptions(literals=literals))
    return [
        triple
        for chunk in source.read("string", 2)
        for triple in zip(
            chunk.src.to_pylist(), chunk.type.to_pylist(), chunk.dst.to_pylist(), strict=True
        )
    ]


def test_resources_are_nodes_and_predicates_are_types(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "g.nt.gz", "wt", newline="") as file:
        file.write(TRIPLES)
    assert triples(tmp_path / "g.nt.gz") == [
        ("http://e/ann", "http://e/knows", "http://e/bob"),
        ("_:b0", "http://e/knows", "http://e/ann"),
        ("http://e/é", "http://e/likes", "http://e/ann"),
    ]


def test_literals_are_nodes_where_they_are_kept(tmp_path: Path) -> None:
    (tmp_path / "g.nt").write_text(TRIPLES)
    kept = triples(tmp_path / "g.nt", "keep")
    assert kept[2:4] == [
        ("http://e/ann", "http://e/name", '"Ann \\"A\\"@x"@en'),
        ("http://e/bob", "http://e/name", '"Böb"^^<http://e/text>'),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "<a> <b> <c>",
        "<a> <b> .",
        '"a" <b> <c> .',
        "<a> _:b <c> .",
        "<a b> <c> <d> .",
        '<a> <b> "c .',
        "<a> <b> <c> <d> .",
        "<a> <b> <c\\> .",
    ],
)
def test_a_line_that_is_no_triple_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "g.nt").write_text(f"<a> <b> <c> .\n# fine\n{line}\n")
    with pytest.raises(ParseError, match="row 3"):
        triples(tmp_path / "g.nt")


def test_a_hostile_line_takes_no_time(tmp_path: Path) -> None:
    (tmp_path / "g.nt").write_text('<a> <b> "' + "\\u0041" * 200_000 + "\n")
    with pytest.raises(ParseError):
        triples(tmp_path / "g.nt")
    (tmp_path / "g.nt").write_text("<" + "\\u00410" * 200_000 + "\n")
    with pytest.raises(ParseError):
        triples(tmp_path / "g.nt")
    (tmp_path / "g.nt").write_bytes(b"<a> <b> <\xff> .\n")
    with pytest.raises(ParseError, match="UTF-8"):
        triples(tmp_path / "g.nt")


def aifb(out: Path, folder: Path) -> Dataset:
    config = IngestConfig(
        edges=[folder / "aifb_stripped.nt.gz"],
        nodes=[folder / "labels.csv.gz"],
        columns={"id": "entity"},
        on_dangling="create",
        literals="keep",
        reverse_edges=True,
        out=out / "graph",
    )
    for _ in ingest(config):
        pass
    return GraphStore.open(out / "graph")


def test_the_research_institute_has_its_published_size(tmp_path: Path, real_data: Path) -> None:
    data = aifb(tmp_path, real_data / "aifb_rdf")
    assert data.graph.num_nodes == 8285 and data.graph.num_edges == 2 * 29_043
    assert len(data.graph.edge_types) == 2 * 45
    assert [len(data.nodes_in(part)) for part in ("train", "test")] == [140, 36]
    assert data.labels is not None and np.bincount(data.labels[:176]).tolist() == [73, 28, 60, 15]
