"""Graph directories: written whole, opened while replaced, refused when damaged."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import xxhash
from pydantic import ValidationError

from sampling import Dataset, FeatureTable, Graph, GraphMeta, GraphStore, NodeIds
from sampling.errors import DamagedError, ExistsError, FutureFormatError, StoreError
from sampling.graph.arrays import sweep_abandoned, write_array
from sampling.graph.store import fingerprint


def data(seed: int = 0, storage: str = "int8", strings: bool = False) -> Dataset:
    rng = np.random.default_rng(seed)
    src, dst = rng.integers(0, 60, 500), rng.integers(0, 60, 500)
    graph = Graph.from_edges(
        src, dst, num_nodes=60, edge_type=src % 2, edge_time=src * 3,
        edge_weight=rng.random(500).astype(np.float32),
    )  # fmt: skip
    keys = rng.permutation(5000)[:60]
    ids = NodeIds.from_ints(keys)
    if strings:
        from sampling.graph.ids import encode_strings

        ids = NodeIds.from_strings(*encode_strings([f"n{k}" for k in keys]))
    return Dataset.in_memory(
        graph,
        features=FeatureTable.from_rows(rng.normal(size=(60, 5)), storage),
        labels=rng.integers(-1, 3, 60),
        classes=["a", "b", "c"],
        splits=rng.integers(0, 4, (60, 2)).astype(np.uint8),
        ids=ids,
        node_time=rng.integers(0, 9, 60),
    )


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    GraphStore.write(tmp_path / "g", data())
    return tmp_path / "g"


@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("strings", [False, True])
def test_what_is_written_is_what_is_opened(tmp_path, storage, strings):
    before = data(storage=storage, strings=strings)
    GraphStore.write(tmp_path / "g", before)
    after = GraphStore.open(tmp_path / "g")
    for name in ("indptr", "indices", "edge_type", "edge_time", "edge_weight"):
        np.testing.assert_array_equal(getattr(after.graph, name), getattr(before.graph, name))
    np.testing.assert_array_equal(after.features.rows(0, 60), before.features.rows(0, 60))
    for name in ("labels", "splits", "node_time"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert after.ids.to_ids(np.arange(60)) == before.ids.to_ids(np.arange(60))
    assert after.meta.labels.classes == ["a", "b", "c"]


def test_arrays_are_plain_npy_that_numpy_maps(stored):
    meta = GraphStore.meta(stored)
    for name, info in meta.arrays.items():
        array = np.load(stored / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        assert array.shape == info.shape
        assert array.dtype == np.dtype(info.dtype)


def test_the_same_content_makes_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        GraphStore.write(tmp_path / name, data())
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_replacing_needs_a_word_and_raises_the_version(stored):
    with pytest.raises(ExistsError, match="--overwrite"):
        GraphStore.write(stored, data(1))
    first = GraphStore.meta(stored)
    second = GraphStore.write(stored, data(1), overwrite=True)
    assert second.version == first.version + 1
    assert second.fingerprint != first.fingerprint
    assert [p.name for p in stored.parent.iterdir()] == ["g"]


ARRAYS = ["indptr", "indices", "edge_type", "edge_time", "edge_weight", "features",
          "feature_scale", "labels", "splits", "node_time", "ids", "ids_table"]  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("damage", ["missing", "truncated", "longer", "flipped", "header", "empty"])
def test_a_damaged_array_is_refused_by_name(stored, name, damage):
    path = stored / f"{name}.npy"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-3] ^= 16
    elif damage == "header":
        content[30] ^= 1
    path.unlink()
    if damage != "missing":
        keep = {"truncated": content[:-8], "longer": content + b"x", "empty": b""}
        path.write_bytes(keep.get(damage, content))
    with pytest.raises(DamagedError, match=rf"{name}\.npy"):
        GraphStore.open(stored)
    with pytest.raises(DamagedError, match=rf"{name}\.npy"):
        list(GraphStore.verify(stored))


def test_swapped_arrays_are_refused(stored):
    a, b = stored / "node_time.npy", stored / "labels.npy"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    with pytest.raises(DamagedError, match=r"npy has checksum"):
        GraphStore.open(stored)


def manifest(stored: Path, change, sign: bool = True) -> None:
    """Edit the manifest; signed, its fingerprint is right again where it is a manifest at all."""
    content = json.loads((stored / "graph.json").read_text())
    change(content)
    if sign:
        with contextlib.suppress(ValidationError):
            content["fingerprint"] = fingerprint(GraphMeta.model_validate(content))
    (stored / "graph.json").write_text(json.dumps(content))


def test_a_future_format_is_refused_by_name(stored):
    manifest(stored, lambda c: c.update(format_version=99), sign=False)
    with pytest.raises(FutureFormatError, match="99 is newer than 1"):
        GraphStore.open(stored)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format_version": 1}', '{"format_version": "1"}', "[" * 100_000,
     '{"format_version": 1, "name": 3}', "\x00\xff"],
)  # fmt: skip
def test_a_damaged_manifest_is_refused_by_name(stored, text):
    (stored / "graph.json").write_text(text)
    with pytest.raises(DamagedError, match=r"graph\.json"):
        GraphStore.open(stored)


def test_a_manifest_that_was_edited_is_refused(stored):
    manifest(stored, lambda c: c.update(num_edges=499), sign=False)
    with pytest.raises(DamagedError, match="fingerprint"):
        GraphStore.open(stored)


def rewrite(stored: Path, name: str, change) -> None:
    """A hostile edit: the array, its checksum and the fingerprint agree with each other."""
    array = np.load(stored / f"{name}.npy")
    change(array)
    raw = (stored / f"{name}.npy").read_bytes()[:128] + array.tobytes()
    (stored / f"{name}.npy").write_bytes(raw)
    digest = xxhash.xxh3_64(array.tobytes()).hexdigest()
    manifest(stored, lambda c: c["arrays"][name].update(xxh3=digest))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("indices", 60, r"indices\[250\] is 60"),
        ("indices", -1, r"indices\[250\] is -1"),
        ("indptr", 10**12, "indptr falls"),
        ("edge_type", 7, "unknown codes"),
        ("labels", 3, "unknown classes"),
        ("splits", 9, "unknown codes"),
        ("ids_table", 60, "ids"),
    ],
)
def test_wrong_content_with_right_checksums_is_refused(stored, name, value, words):
    def change(array: np.ndarray) -> None:
        array.reshape(-1)[array.size // 2] = value

    rewrite(stored, name, change)
    with pytest.raises(DamagedError, match=words):
        GraphStore.open(stored)


@pytest.mark.parametrize("dtype", ["<i4", "<f2", "<f8"])
@pytest.mark.parametrize("name", ["edge_weight", "edge_features", "positions"])
def test_numbers_of_another_type_with_right_checksums_are_refused(tmp_path, name, dtype):
    graph = Graph.from_edges([0, 1, 2], [1, 2, 0], edge_weight=np.ones(3, np.float32),
                             edge_features=np.ones((3, 2), np.float32))  # fmt: skip
    places = np.zeros((3, 3), np.float32)
    GraphStore.write(tmp_path / "g", Dataset.in_memory(graph, positions=places))
    stored = tmp_path / "g"
    path = stored / f"{name}.npy"
    info = write_array(path, np.load(path).astype(dtype))
    manifest(stored, lambda c: c["arrays"].update({name: info.model_dump(mode="json")}))
    words = rf"{name}.npy holds {np.dtype(dtype).name} and not float32"
    for opens in (GraphStore.open, lambda path: list(GraphStore.verify(path))):
        with pytest.raises(DamagedError, match=words):
            opens(stored)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(node_types=[["node", 0, 59]]),
        lambda c: c.update(node_types=[["a", 0, 70], ["b", 70, 60]]),
        lambda c: c["arrays"].pop("indices"),
        lambda c: c["arrays"].update({"../../evil": c["arrays"]["ids"]}),
        lambda c: c.update(feature_storage="float64"),
        lambda c: c.update(feature_storage="float16"),
        lambda c: c["ids"].update(kind="pickle"),
        lambda c: c["ids"].update(kind="string"),
        lambda c: c["ids"].update(num_nodes=10**15),
        lambda c: c["ids"].pop("kind"),
        lambda c: c["arrays"]["indices"].update(shape=[-500]),
        lambda c: c["arrays"]["indices"].update(dtype="|O"),
        lambda c: c["arrays"]["indices"].update(dtype="nonsense"),
        lambda c: c["arrays"]["indices"].update(dtype="<f4"),
    ],
)
def test_a_hostile_manifest_is_refused_as_damage(stored, change):
    manifest(stored, change)
    with pytest.raises(StoreError):
        GraphStore.open(stored)


def test_a_graph_can_be_opened_while_it_is_replaced(stored):
    stop, opened, failures = threading.Event(), [], []

    def read() -> None:
        while not stop.is_set():
            try:
                got = GraphStore.open(stored)
                opened.append(got.meta.version)
                for name, info in got.meta.arrays.items():
                    if name == "labels":
                        digest = xxhash.xxh3_64(got.labels.tobytes()).hexdigest()
                        assert digest == info.xxh3
            except Exception as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for seed in range(40):
        GraphStore.write(stored, data(seed), overwrite=True)
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert len(set(opened)) > 2


WRITER = """
import sys, time
sys.path.insert(0, {tests!r})
from test_store import data
from sampling import GraphStore
import sampling.graph.store as store
from pathlib import Path
real = store.write_array
def slow(path, array):
    print(path.name, flush=True)
    time.sleep(0.2)
    return real(path, array)
store.write_array = slow
GraphStore.write(Path({out!r}), data(5), overwrite=True)
"""


@pytest.mark.parametrize("arrays_written", [1, 6, 11])
def test_a_killed_writer_leaves_the_last_complete_state(stored, arrays_written):
    before = GraphStore.meta(stored)
    code = WRITER.format(tests=str(Path(__file__).parent), out=str(stored))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    for _ in range(arrays_written):
        process.stdout.readline()
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert GraphStore.open(stored).meta == before
    sweep_abandoned(stored)
    assert [p.name for p in stored.parent.iterdir()] == ["g"]


def test_a_file_that_cannot_grow_leaves_the_old_graph(stored):
    before = GraphStore.meta(stored)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            GraphStore.write(stored, data(1), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert GraphStore.open(stored).meta == before
    assert [p.name for p in stored.parent.iterdir()] == ["g"]


def test_a_copy_elsewhere_is_the_same_graph(stored, tmp_path):
    shutil.copytree(stored, tmp_path / "copy")
    assert GraphStore.open(tmp_path / "copy").meta == GraphStore.meta(stored)
