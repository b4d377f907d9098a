"""The command line as a person has it: real processes, real files, real exit codes."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

GNN = [sys.executable, "-m", "service.cli"]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # two threads per process crowd a small machine
PATIENCE_S = 120


def gnn(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GNN, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=ONE_THREAD,
    )


def answer(*arguments: object) -> dict[str, Any]:
    """The JSON object on the last line of a command that must succeed."""
    done = gnn(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    parsed = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(parsed, dict)
    return parsed


ASK_ALL = """
import contextlib, io, json, sys
from service.cli import main
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def all_in_one_process(commands: list[list[str]]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each: in one process, since each would load torch again."""
    done = subprocess.run(
        [sys.executable, "-c", ASK_ALL],
        input=json.dumps(commands),
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "files"
    answer("synth", "sbm", "--nodes", 600, "--edges", 3000, "--classes", 3, "--features", 8,
           "--noise", 1, "--homophily", 0.9, "--out", out)  # fmt: skip
    return out


@pytest.fixture(scope="session")
def graph(files: Path) -> Path:
    out = files.parent / "graph"
    answer("ingest", "--edges", files / "edges.parquet", "--nodes", files / "nodes.parquet",
           "--features", files / "features.npy", "--undirected", "--out", out)  # fmt: skip
    return out


@pytest.fixture(scope="session")
def trained(graph: Path) -> dict[str, Any]:
    return answer("train", graph, "--out", graph.parent / "models/default", "--fanouts", "5,5",
                  "--hidden", 16, "--epochs", 20, "--head", "linear")  # fmt: skip


@pytest.fixture(scope="session")
def model(graph: Path, trained: dict[str, Any]) -> Path:
    return graph.parent / "models/default"


@pytest.fixture(scope="session")
def embeddings(graph: Path, model: Path) -> Path:
    out = graph.parent / "embeddings"
    answer("embed", graph, model, "--out", out, "--predictions")
    return out


def test_a_graph_holds_what_its_files_hold(files: Path, graph: Path):
    about = answer("info", graph)
    pairs = pq.read_table(files / "edges.parquet")
    ends = np.sort(np.stack([pairs["src"].to_numpy(), pairs["dst"].to_numpy()]), axis=0)
    assert about["num_nodes"] == 600
    assert about["num_edges"] == 2 * np.unique(ends, axis=1).shape[1]
    assert about["features"] == {"dim": 8, "storage": "float32"}
    assert sum(about["labels"]["classes"].values()) == 600


def test_equal_seeds_write_equal_bytes_and_others_do_not(files: Path, tmp_path: Path):
    options = ("synth", "sbm", "--nodes", 600, "--edges", 3000, "--classes", 3, "--features", 8,
               "--noise", 1, "--homophily", 0.9)  # fmt: skip
    answer(*options, "--out", tmp_path / "same")
    answer(*options, "--out", tmp_path / "other", "--seed", 1)
    for name in ("edges.parquet", "nodes.parquet", "features.npy"):
        content = (files / name).read_bytes()
        assert (tmp_path / "same" / name).read_bytes() == content
        assert (tmp_path / "other" / name).read_bytes() != content


def test_verify_passes_a_graph_and_names_the_file_that_was_changed(graph: Path, tmp_path: Path):
    assert answer("verify", graph)["intact"] is True
    damaged = tmp_path / "graph"
    damaged.mkdir()
    for path in graph.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    content = bytearray((damaged / "indices.npy").read_bytes())
    content[-1] ^= 1
    (damaged / "indices.npy").write_bytes(content)
    done = gnn("verify", damaged)
    assert done.returncode == 2
    assert "indices.npy" in done.stderr


def test_training_reports_metrics_that_evaluate_repeats(graph: Path, model: Path, trained: dict):
    assert trained["version"] == 1
    assert set(trained["metrics"]) == {"train", "val", "test"}
    assert trained["metrics"]["test"]["accuracy"] > 0.8
    again = answer("evaluate", graph, model, "--split", "val")
    assert again["metrics"]["val"] == pytest.approx(trained["metrics"]["val"])


def test_a_config_file_gives_the_weights_that_its_flags_give(
    graph: Path, model: Path, tmp_path: Path
):
    config = tmp_path / "train.toml"
    config.write_text('fanouts = [5, 5]\nhidden = 16\nepochs = 1\nhead = "linear"\n')
    out = tmp_path / "models/again"
    answer("train", graph, "--out", out, "--config", config, "--epochs", 20)
    theirs = (model / "1/weights.safetensors").read_bytes()
    assert (out / "1/weights.safetensors").read_bytes() == theirs


def test_the_table_holds_what_predict_computes(graph: Path, model: Path, embeddings: Path):
    ask = ("predict", graph, model, "--nodes", "0,7,599", "--include", "label,embedding")
    computed = answer(*ask, "--mode", "exact")["predictions"]
    stored = answer(*ask, "--embeddings", embeddings)["predictions"]
    assert [p["source"] for p in stored] == ["table"] * 3
    table = np.load(embeddings / "embeddings.npy")[[0, 7, 599]]
    for rows in (computed, stored):
        np.testing.assert_allclose([p["embedding"] for p in rows], table, atol=1e-5)
        assert [p["label"] for p in rows] == [p["label"] for p in computed]


def test_every_output_file_holds_what_the_terminal_shows(graph: Path, model: Path, tmp_path: Path):
    ids = tmp_path / "ids.txt"
    ids.write_text("3\n1\n2\n")
    outs = [tmp_path / f"out.{suffix}" for suffix in ("csv", "jsonl", "parquet")]
    ask = ["predict", str(graph), str(model)]
    commands = [[*ask, "--nodes-file", str(ids), "--out", str(out)] for out in outs]
    done = all_in_one_process([*commands, [*ask, "--nodes", "3,1,2"]])
    assert [code for code, _, _ in done] == [0] * 4
    shown = done[-1][1]
    assert outs[0].read_text() == shown
    table = list(csv.DictReader(shown.splitlines()))
    lines = [json.loads(line) for line in outs[1].read_text().splitlines()]
    assert lines == pq.read_table(outs[2]).to_pylist()
    assert [line["node"] for line in lines] == [3, 1, 2]
    assert [str(line["label"]) for line in lines] == [row["label"] for row in table]
    assert names_in(tmp_path) == ["ids.txt", *sorted(out.name for out in outs)]


def test_an_id_of_another_type_is_reported_as_rest_reports_it(
    graph: Path, model: Path, server: str
):
    body = {"nodes": [1, "x"], "on_unknown": "report"}
    rest = httpx.post(f"{server}/v1/nodes/predict", json=body).json()
    ours = answer("predict", graph, model, "--nodes", "1,x", "--on-unknown", "report")
    assert ours["predictions"][1] == rest["predictions"][1]
    assert [p["node"] for p in ours["predictions"]] == [1, "x"]


FULL_DISK = """
import resource, signal, sys
from service.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
main(sys.argv[1:])
"""


def test_a_full_disk_in_training_is_named_with_its_file(graph: Path, tmp_path: Path):
    out = tmp_path / "models/full"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, "train", graph, "--out", out, "--epochs", "1"],
        capture_output=True, text=True, timeout=PATIENCE_S, env=ONE_THREAD,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f"{out}/.training/training.safetensors: File too large" in done.stderr


@pytest.fixture(scope="module")
def server(graph: Path, model: Path) -> Iterator[str]:
    command = [*GNN, "serve", "--graph", graph, "--models", model.parent, "--port", "0"]
    log = graph.parent / "server.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*map(str, command)], stdout=stderr, stderr=stderr, env=ONE_THREAD
        )
    try:
        yield wait_for(lambda: re.search(r"serving on (http://\S+)", log.read_text()), process)[1]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, log.read_text()


def wait_for(found: Any, process: subprocess.Popen[Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if result := found():
            return result
        assert process.poll() is None, "the process ended before it got that far"
        time.sleep(0.005)
    raise AssertionError("waited in vain")


@pytest.mark.parametrize("mode", ["exact", "sampled", "auto"])
def test_command_line_equals_rest(graph: Path, model: Path, server: str, mode: str):
    ids = [5, 17, 5, 300]
    body = {"nodes": ids, "mode": mode, "seed": 3, "include": ["label", "probabilities"]}
    rest = httpx.post(f"{server}/v1/nodes/predict", json=body).json()
    ours = answer("predict", graph, model, "--nodes", ",".join(map(str, ids)), "--mode", mode,
                  "--seed", 3)  # fmt: skip
    for key in ("model", "model_version", "graph_version"):
        assert ours[key] == rest[key]
    for mine, theirs in zip(ours["predictions"], rest["predictions"], strict=True):
        assert (mine["node"], mine["label"]) == (theirs["node"], theirs["label"])
        assert mine["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-5)


def test_a_killed_training_continues_to_the_same_weights(graph: Path, tmp_path: Path):
    options = ("train", graph, "--fanouts", "5,5", "--hidden", 16, "--epochs", 30)
    whole, killed = tmp_path / "models/whole", tmp_path / "models/killed"
    answer(*options, "--out", whole)
    kill_when(killed / ".training/training.safetensors", *options, "--out", killed)
    assert not (killed / "1").exists()
    answer(*options, "--out", killed, "--resume")
    theirs = (whole / "1/weights.safetensors").read_bytes()
    assert (killed / "1/weights.safetensors").read_bytes() == theirs
    assert names_in(killed) == ["1"]


def test_a_killed_embedding_continues_to_the_same_rows(
    graph: Path, model: Path, embeddings: Path, tmp_path: Path
):
    out = tmp_path / "embeddings"
    options = ("embed", graph, model, "--out", out, "--predictions", "--tile-rows", 1)
    kill_when(tmp_path / "embeddings.partial/journal.jsonl", *options)
    assert not out.exists()
    answer(*options, "--resume")
    for name in ("embeddings.npy", "predictions.npy"):
        np.testing.assert_allclose(np.load(out / name), np.load(embeddings / name), atol=1e-5)
    assert names_in(tmp_path) == ["embeddings"]


def kill_when(journal: Path, *arguments: object) -> None:
    """Start a command and kill -9 it as soon as its journal has something in it."""
    command = [*GNN, *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ONE_THREAD
    )
    wait_for(lambda: journal.exists() and journal.stat().st_size > 0, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_ctrl_c_leaves_no_output(tmp_path: Path):
    out = tmp_path / "files"
    command = [*GNN, "synth", "rmat", "--nodes", "1000000", "--edges", "100000000", "--out"]
    process = subprocess.Popen(
        [*command, str(out)],
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell would hand down that interrupts are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(lambda: list(tmp_path.glob(".files.*/edges.parquet")), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert names_in(tmp_path) == []


def test_several_files_of_edges_follow_one_option(tmp_path: Path):
    (tmp_path / "a.csv").write_text("src,dst\nx,y\n")
    (tmp_path / "b.csv").write_text("src,dst\ny,z\n")
    made = answer("ingest", "--edges", tmp_path / "a.csv", tmp_path / "b.csv",
                  "--out", tmp_path / "graph")  # fmt: skip
    assert (made["num_nodes"], made["num_edges"]) == (3, 2)


BAD_INPUTS = {
    "no such graph": (["info", "{tmp}/none"], "there is no graph at"),
    "a file is no graph": (["info", "{graph}/graph.json"], "graph.json"),
    "no such model": (["evaluate", "{graph}", "{tmp}/models/none"], "none"),
    "an unknown node": (["predict", "{graph}", "{model}", "--nodes", "7,600"], "600"),
    "an id of another type": (["predict", "{graph}", "{model}", "--nodes", "seven"], "seven"),
    "no ids at all": (["predict", "{graph}", "{model}"], "--nodes"),
    "a file that cannot be written": (
        ["predict", "{graph}", "{model}", "--nodes", "1", "--out", "{tmp}/x.txt"], ".csv"),
    "an empty list of ids": (["predict", "{graph}", "{model}", "--nodes", ","], "holds no ids"),
    "an id of 5000 digits": (
        ["predict", "{graph}", "{model}", "--nodes", "9" * 5000], "64 bits"),
    "a folder that is not there": (
        ["predict", "{graph}", "{model}", "--nodes", "1", "--out", "{tmp}/no/x.csv"],
        "/no/x.csv: No such file"),
    "a seed that is negative": (
        ["predict", "{graph}", "{model}", "--nodes", "1", "--seed", "-1"], "--seed"),
    "a seed above 63 bits": (["train", "{graph}", "--out", "{tmp}/m", "--seed", str(2**63)],
        "--seed"),
    "a seed of files above 63 bits": (
        ["synth", "rmat", "--nodes", "4", "--edges", "4", "--out", "{tmp}/s", "--seed",
         str(2**63)], "--seed"),
    "too many threads": (
        ["train", "{graph}", "--out", "{tmp}/m", "--threads", "1025"], "1024"),
    "no fanouts": (["train", "{graph}", "--out", "{tmp}/m", "--fanouts", ""], "fanouts"),
    "no fanouts to measure with": (["evaluate", "{graph}", "{model}", "--fanouts", ""], "fanouts"),
    "shares that are no numbers": (
        ["train", "{graph}", "--out", "{tmp}/m", "--split", "nan,0,0"], "split"),
    "an unknown format": (
        ["ingest", "--edges", "{files}/edges.parquet", "--out", "{tmp}/g", "--format", "dot"],
        "matrix-market"),
    "a fanout above 64 bits": (
        ["train", "{graph}", "--out", "{tmp}/m", "--fanouts", "5,99999999999999999999"],
        "fanout"),
    "no table to answer from": (
        ["predict", "{graph}", "{model}", "--nodes", "1", "--mode", "table"], "table"),
    "an unknown output": (
        ["predict", "{graph}", "{model}", "--nodes", "1", "--include", "weather"], "weather"),
    "no such edge file": (["ingest", "--edges", "{tmp}/no.csv", "--out", "{tmp}/g"], "no.csv"),
    "nothing to ingest": (["ingest", "--out", "{tmp}/g"], "edges"),
    "an output that is there": (
        ["ingest", "--edges", "{files}/edges.parquet", "--out", "{graph}"], "--overwrite"),
    "a size that is none": (
        ["ingest", "--edges", "{files}/edges.parquet", "--out", "{tmp}/g", "--memory", "much"],
        "much"),
    "fanouts that are none": (
        ["train", "{graph}", "--out", "{tmp}/m", "--fanouts", "many"], "many"),
    "fanouts for other layers": (
        ["train", "{graph}", "--out", "{tmp}/m", "--fanouts", "5", "--layers", "2"], "layers"),
    "a name that leaves its folder": (["train", "{graph}", "--out", "{tmp}/..Up"], "name"),
    "an unknown option": (["train", "{graph}", "--out", "{tmp}/m", "--epoch", "3"], "--epoch"),
    "a word for a number": (
        ["train", "{graph}", "--out", "{tmp}/m", "--epochs", "three"], "three"),
    "no such split": (["train", "{graph}", "--out", "{tmp}/m", "--split-index", "4"], "split 4"),
    "a fanout below all": (
        ["train", "{graph}", "--out", "{tmp}/m", "--fanouts", "-2,5"], "'--fanouts': -2 is below"),
    "two shares": (
        ["train", "{graph}", "--out", "{tmp}/m", "--split", "0.6,0.4"], "'--split'"),
    "a readout of nodes": (
        ["train", "{graph}", "--out", "{tmp}/m", "--readout", "sum"], "tasks on graphs"),
    "a decoder of pairs for nodes": (
        ["train", "{graph}", "--out", "{tmp}/m", "--decoder", "dot"],
        "decoder is 'dot', which is for tasks on pairs, and the task is node-classification"),
    "weights that are not there": (
        ["train", "{graph}", "--out", "{tmp}/m", "--aggregator", "weighted"], "--weight"),
    "an aggregator that is none": (
        ["train", "{graph}", "--out", "{tmp}/m", "--aggregator", "median"],
        "'--aggregator': 'median' is not one of 'mean', 'sum', 'max', 'weighted', 'gcn'; see"),
    "an aggregator of another model": (
        ["train", "{graph}", "--out", "{tmp}/m", "--model", "gat", "--aggregator", "gcn"],
        "aggregator is 'gcn', which is for sage, and the model is gat; leave it out"),
    "heads of a model without attention": (
        ["train", "{graph}", "--out", "{tmp}/m", "--model", "gcn", "--heads", "4"],
        "heads is 4, which is for gat and gatv2 and hgt and tgat and transformer, and the model "
        "is gcn; leave it out"),
    "a teleport of another model": (
        ["train", "{graph}", "--out", "{tmp}/m", "--alpha", "0.2"], "alpha is 0.2, which is for "
        "appnp"),
    "a first norm that is none": (
        ["train", "{graph}", "--out", "{tmp}/m", "--norm-first"],
        'norm is "none"; choose one of these, or leave norm_first out'),
    "a first norm of graphs": (
        ["train", "{graph}", "--out", "{tmp}/m", "--norm-first", "--norm", "graph"],
        "for collections of graphs; choose layer"),
    "a first norm where none is": (
        ["train", "{graph}", "--out", "{tmp}/m", "--norm-first", "--model", "appnp"],
        "appnp takes none between its layers; leave it out"),
    "an engine that is not there": (
        ["embed", "{graph}", "{model}", "--out", "{tmp}/e", "--engine", "ray"], "'--engine'"),
    "an unknown command": (["trian"], "train"),
    "a missing argument": (["info"], "GRAPH"),
    "no nodes to make": (
        ["synth", "rmat", "--nodes", "0", "--edges", "1", "--out", "{tmp}/s"], "0 nodes"),
    "a server without a graph": (["serve", "--models", "{model}"], "--graph"),
    "a port that is none": (["serve", "--port", "99999"], "99999"),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(
    files: Path, graph: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[int, str, str]]:
    """What every bad input led to."""
    tmp = tmp_path_factory.mktemp("bad")
    places = {"tmp": tmp, "files": files, "graph": graph, "model": model}
    lines = [[word.format(**places) for word in words] for words, _ in BAD_INPUTS.values()]
    answers = all_in_one_process(lines)
    assert names_in(tmp) == []
    return dict(zip(BAD_INPUTS, answers, strict=True))


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_one_sentence_and_exit_code_2(case: str, outcomes: dict):
    code, out, err = outcomes[case]
    assert (code, out) == (2, "")
    [said] = err.strip().splitlines()
    assert said.startswith("gnn: ")
    assert BAD_INPUTS[case][1] in said


def test_an_unknown_key_of_a_config_file_is_refused(graph: Path, tmp_path: Path):
    config = tmp_path / "train.toml"
    config.write_text("epochs = 1\nlearning_rate = 3\n")
    done = gnn("train", graph, "--out", tmp_path / "m", "--config", config)
    assert done.returncode == 2
    assert "learning_rate" in done.stderr


def test_resuming_what_is_not_there_is_said(graph: Path, tmp_path: Path):
    done = gnn("train", graph, "--out", tmp_path / "m", "--epochs", "1", "--resume")
    assert done.returncode == 0
    assert f"there is no unfinished training in {tmp_path / 'm'}" in done.stderr


def test_a_bad_input_ends_a_process_with_exit_code_2_and_debug_adds_the_traceback(tmp_path: Path):
    done = gnn("info", tmp_path, "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "graph.json" in done.stderr.splitlines()[-1]


def test_help_is_there_before_torch_is_loaded():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "service.cli", "--help"],
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0
    assert "ingest" in done.stdout
    assert not re.search(r"\|\s+(torch|numpy|sampling|gnn)$", done.stderr, re.MULTILINE)


def test_doctor_names_what_is_there():
    found = answer("doctor")["found"]
    assert found["torch"]["found"]
    assert found["compiled core"]["found"]


def test_plan_foresees_what_embedding_writes(graph: Path, model: Path, embeddings: Path):
    steps = answer("plan", graph, "--hidden", 16, "--fanouts", "5,5", "--batch-size", 64)["steps"]
    rows = (embeddings / "embeddings.npy").stat().st_size
    assert steps["embed"]["disk_bytes"] == pytest.approx(2 * rows, rel=0.01)
    assert all(step["fits"] for step in steps.values())
    assert list(steps) == ["ingest", "verify", "train, one epoch", "embed", "serve"]
    assert steps["ingest"]["seconds"] > 0 and steps["ingest"]["disk_bytes"] > 0


SMALL = ("--nodes", 500, "--edges", 5000, "--repeats", 1, "--threads", 1)


@pytest.mark.parametrize(
    ("name", "unit", "options"),
    [
        (
            "sampling",
            "edges/s",
            (*SMALL, "--batch-size", "16,64", "--fanouts", "5,3", "--no-tuned"),
        ),
        ("gather", "rows/s", ("--nodes", 500, "--batch-size", 50, "--repeats", 1)),
        ("spmm", "edges/s", (*SMALL, "--no-tuned")),
        ("loader", "edges/s", (*SMALL, "--batch-size", 64, "--fanouts", "5,3", "--no-tuned")),
        ("embed", "nodes/s", (*SMALL, "--width", 8, "--no-tuned")),
        ("ingest", "edges/s", SMALL),
    ],
)
def test_every_bench_has_the_documented_form(name: str, unit: str, options: tuple[object, ...]):
    result = answer("bench", name, *options)
    assert set(result) == {"machine", "rows"}
    assert result["rows"]
    for row in result["rows"]:
        assert row["unit"] == ("steps/s" if "walks" in row["work"] else unit)
        assert row["ours"] > 0
        assert all(p["ratio"] == row["ours"] / p["value"] for p in row["peers"].values())


def test_bench_refuses_batch_sizes_that_are_none():
    done = gnn("bench", "sampling", "--batch-size", "1,no")
    assert done.returncode == 2
    assert "positive integers" in done.stderr


def test_the_demo_serves_a_good_model():
    result = answer("demo")
    assert result["test_accuracy"] > 0.93
    assert result["predicted_label"] == result["true_label"]
