"""What commands read and say, without a process of their own."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from gnn import TrainConfig
from gnn.errors import DivergedError, TrainingError
from gnn.tasks import task_named
from sampling import Dataset, Graph, GraphStore, NodeIds
from sampling.errors import DamagedError, InputError, ParseError
from sampling.graph.ids import encode_strings
from sampling.graph.readers.formats import FORMATS
from service.cli import explain
from service.commands import info, predict
from service.commands.embed import run_embedding
from service.commands.ingest import Format
from service.commands.node_ids import MAX_LINE_BYTES, parse_ids, read_ids
from service.commands.options import parse_fanouts
from service.commands.train import read_config
from service.commands.writing import naming_when_full

INTS = NodeIds.range(10)
STRINGS = NodeIds.from_strings(*encode_strings([" a", "b\x0b", "\u2028"]))


def test_string_ids_keep_their_white_space_and_lines_end_at_line_feeds_alone(tmp_path: Path):
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbf a\r\nb\x0b\n\n\xe2\x80\xa8")
    texts = read_ids(None, path)
    assert parse_ids(STRINGS, texts) == [" a", "b\x0b", "\u2028"]
    assert STRINGS.find(texts).tolist() == [0, 1, 2]
    assert read_ids(" a,b", None) == [" a", "b"]


def test_a_line_of_64_kib_is_read_and_a_longer_one_refused(tmp_path: Path):
    path = tmp_path / "ids.txt"
    for end in (b"\r\n", b"\n", b""):
        path.write_bytes(b"7\n" + b"x" * MAX_LINE_BYTES + end)
        assert [len(text) for text in read_ids(None, path)] == [1, MAX_LINE_BYTES]
        path.write_bytes(b"7\n" + b"x" * (MAX_LINE_BYTES + 1) + end)
        with pytest.raises(ParseError, match="row 2: the line is longer"):
            read_ids(None, path)


def test_an_endless_line_is_refused_before_it_is_read():
    with pytest.raises(ParseError, match="row 1: the line is longer"):
        read_ids(None, Path("/dev/zero"))


@pytest.mark.parametrize("nodes", ["", ",", " , "])
def test_no_ids_are_refused(nodes: str, tmp_path: Path):
    with pytest.raises(InputError, match="holds no ids"):
        read_ids(nodes, None)
    path = tmp_path / "ids.txt"
    path.write_text(nodes.replace(",", "\n"))
    with pytest.raises(InputError, match=r"ids\.txt holds no ids"):
        read_ids(None, path)


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_64_bit_integer_is_an_id(number: int):
    assert parse_ids(INTS, [f" {number}"]) == [number]


@pytest.mark.parametrize("text", ["9" * 5000, "-" + "9" * 5000, str(2**63)])
def test_an_integer_above_64_bits_is_refused(text: str):
    for report in (False, True):
        with pytest.raises(InputError, match="64 bits"):
            parse_ids(INTS, [text], report_unknown=report)


@pytest.mark.parametrize("text", ["x", "٣", "--1", "1_0", "+1", "1.0"])
def test_a_text_is_no_integer_id_but_can_be_reported(text: str):
    with pytest.raises(InputError, match="is not an integer"):
        parse_ids(INTS, ["1", text])
    ids = parse_ids(INTS, ["1", text], report_unknown=True)
    assert ids == [1, text]
    assert INTS.find(ids).tolist() == [1, -1]


def test_a_reported_text_fits_into_parquet(tmp_path: Path):
    rows = [{"node": 1, "label": 3}, {"node": "x", "error": "unknown"}]
    predict._write(tmp_path / "out.parquet", rows)
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert table == {"node": ["1", "x"], "label": [3, None], "error": [None, "unknown"]}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_an_output_that_cannot_be_written_is_named_as_it_was_given(suffix: str, tmp_path: Path):
    path = tmp_path / f"none/out.{suffix}"
    with pytest.raises(FileNotFoundError) as caught:
        predict._write(path, [{"node": 1}])
    assert explain(caught.value)[1].startswith(f"{path}: No such file")
    path = tmp_path / f"folder.{suffix}"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        predict._write(path, [{"node": 1}])
    assert caught.value.filename == str(path)


def test_a_full_disk_is_named_after_the_output(tmp_path: Path):
    with (
        pytest.raises(OSError, match="No space left") as caught,
        naming_when_full(tmp_path),
        Path("/dev/full").open("wb", buffering=0) as file,
    ):
        file.write(b"x")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))
    code, sentence = explain(caught.value)
    assert code == 2
    assert sentence.startswith(f"{tmp_path}: No space left on device")


@pytest.mark.parametrize(("device", "words"), [("cuda:99", "'cuda:99'"), ("tpu", "choose auto")])
def test_embedding_on_a_device_that_is_not_there_writes_nothing(world, tmp_path, device, words):
    with pytest.raises(InputError, match=words):
        run_embedding(world.graph, world.models / "default", tmp_path / "rows", device=device)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", [b"model = '\xff'", b"epochs = " + b"9" * 5000, b"x = " + b"[" * 10_000]
)
def test_a_config_file_that_is_no_toml_is_the_users_to_mend(content: bytes, tmp_path: Path):
    path = tmp_path / "train.toml"
    path.write_bytes(content)
    with pytest.raises(typer.BadParameter, match="is not TOML"):
        read_config(typer.Context(typer.main.get_command(typer.Typer(callback=info.info))), path)


def test_empty_fanouts_are_refused():
    with pytest.raises(typer.BadParameter, match="not a list of fanouts"):
        parse_fanouts("")


def test_the_formats_of_the_help_are_those_that_are_read():
    assert get_args(Format) == ("auto", *FORMATS)


def test_verify_ends_at_its_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    graph = Graph.from_edges(np.array([0, 1]), np.array([1, 2]), num_nodes=3)
    GraphStore.write(tmp_path / "graph", Dataset.in_memory(graph))
    seen: list[tuple[float, float | None]] = []

    class Recorded(info.Progress):
        def update(
            self, stage: str, done: float, total: float | None = None, detail: str = ""
        ) -> None:
            seen.append((done, total))

    monkeypatch.setattr(info, "Progress", Recorded)
    info.verify(tmp_path / "graph")
    assert all(total is not None and done <= total for done, total in seen)
    assert seen[-1][0] == seen[-1][1]


def test_weights_are_kept_only_where_an_epoch_was_finished():
    assert "kept" not in str(DivergedError(1, 1, np.nan))
    assert "kept" in str(DivergedError(2, 1, np.nan))


def test_only_a_directory_without_arrays_is_no_graph(tmp_path: Path):
    with pytest.raises(DamagedError) as caught:
        GraphStore.meta(tmp_path)
    assert explain(caught.value) == (
        2,
        f"there is no graph at {tmp_path} (no graph.json); make one with "
        f"`gnn ingest --edges FILE --out {tmp_path}`",
    )
    (tmp_path / "indptr.npy").touch()
    assert "restore it" in explain(caught.value)[1]


def test_real_labels_are_not_classes_and_the_option_is_named():
    graph = Graph.from_edges(np.array([0]), np.array([1]), num_nodes=3)
    data = Dataset.in_memory(graph, labels=np.ones(3, np.float32))
    with pytest.raises(TrainingError, match="real numbers; pass --task node-regression"):
        task_named("node-classification").num_outputs(data)
    assert task_named("node-regression").num_outputs(data) == 1


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_of_training_have_the_range_of_requests(seed: int):
    with pytest.raises(InputError, match=r"2\^63 - 1"):
        TrainConfig(seed=seed)
    TrainConfig(seed=2**63 - 1)
