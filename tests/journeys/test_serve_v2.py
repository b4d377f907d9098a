"""The Open Inference Protocol face, asked by a stock client and by hostile bytes."""

from __future__ import annotations

import json
import struct
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from inprocess import InProcess, in_process
from world import CLASSES, World, add_model, make_world, running

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
    from tritonclient.utils import InferenceServerException

URL = "/v2/models/default/infer"
HEADER = "inference-header-content-length"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("v2"))
    add_model(world.models / "value", world.data, seed=4, task="node-regression")
    return world


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[InProcess]:
    with in_process(world.settings(max_ids_per_request=100, max_body_bytes=20_000)) as client:
        yield client


def nodes_input(ids: list[Any], binary: bool) -> InferInput:
    datatype = "INT64" if isinstance(ids[0], int) else "BYTES"
    tensor = InferInput("nodes", [len(ids)], datatype)
    array = np.array(ids, np.int64) if datatype == "INT64" else np.array(ids, np.object_)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def wanted(world: World, ids: list[Any]) -> dict[str, np.ndarray]:
    """The answers of /v1, as arrays."""
    with in_process(world.settings()) as client:
        include = ["label", "probabilities", "embedding"]
        body = {"nodes": ids, "include": include}
        entries = client.post("/v1/nodes/predict", json=body).json()["predictions"]
    return {
        "label": np.array([entry["label"].encode() for entry in entries], np.object_),
        "probabilities": np.array([list(e["probabilities"].values()) for e in entries]),
        "embedding": np.array([entry["embedding"] for entry in entries]),
    }


def check(result: Any, truth: dict[str, np.ndarray]) -> None:
    for name, values in truth.items():
        got = result.as_numpy(name)
        assert got.shape == values.shape
        if name == "label":
            assert [str(v, "utf8") if isinstance(v, bytes) else v for v in got] == [
                str(v, "utf8") for v in values
            ]
        else:
            assert got.dtype == np.float32
            assert np.abs(got - values).max() < 1e-6


@pytest.mark.parametrize("strings", [False, True])
def test_the_stock_client_gets_what_v1_answers_in_every_encoding(tmp_path: Path, strings: bool):
    world = make_world(tmp_path, string_ids=strings)
    ids = ["n17", "n1\n", "n17"] if strings else [117, 101, 117]
    truth = wanted(world, ids)
    with running(world.settings()) as http:
        url = str(http.base_url).removeprefix("http://").rstrip("/")
        triton = InferenceServerClient(url)
        try:
            look_around(triton, strings)
            for binary_in in (False, True):
                for binary_out in (False, True):
                    outputs = [InferRequestedOutput(n, binary_data=binary_out) for n in truth]
                    given = [nodes_input(ids, binary_in)]
                    result = triton.infer(
                        "default", given, outputs=outputs, request_id="r-7", model_version="1"
                    )
                    check(result, truth)
                    assert result.get_response()["id"] == "r-7"
            result = triton.infer("default", [nodes_input(ids, True)])
            check(result, {k: v for k, v in truth.items() if k != "embedding"})
            assert result.as_numpy("embedding") is None
            refusals(triton)
        finally:
            triton.close()


def look_around(triton: InferenceServerClient, strings: bool) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("default")
    assert triton.is_model_ready("default", "1")
    assert not triton.is_model_ready("default", "2")
    assert not triton.is_model_ready("nope")
    assert "binary_tensor_data" in triton.get_server_metadata()["extensions"]
    metadata = triton.get_model_metadata("default")
    assert metadata["versions"] == ["1"]
    id_type = "BYTES" if strings else "INT64"
    assert metadata["inputs"] == [{"name": "nodes", "datatype": id_type, "shape": [-1]}]
    assert metadata["outputs"][1] == {
        "name": "probabilities", "datatype": "FP32", "shape": [-1, len(CLASSES)],
    }  # fmt: skip


def refusals(triton: InferenceServerClient) -> None:
    for name, version, given, said in (
        ("nope", "", [105], "no model is called"),
        ("default", "9", [105], "no version 9"),
        ("default", "", [7], "not in the graph"),
    ):
        with pytest.raises(InferenceServerException, match=said):
            triton.infer(name, [nodes_input(given, True)], model_version=version)
    with pytest.raises(InferenceServerException, match="compressed"):
        triton.infer("default", [nodes_input([105], True)], request_compression_algorithm="gzip")


def body(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "nodes", "shape": [2], "datatype": "INT64", "data": [105, 100]}
    return {"inputs": [tensor | changes]}


def post(client: InProcess, content: Any, url: str = URL, **headers: str) -> httpx.Response:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return client.post(
        url, content=raw, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def binary(
    tensor: dict[str, Any], tail: bytes, length: int | str | None = None
) -> tuple[bytes, dict[str, str]]:
    document = json.dumps(
        {"inputs": [{"name": "nodes", "shape": [2], "datatype": "INT64"} | tensor]}
    )
    given = len(document) if length is None else length
    return document.encode() + tail, {HEADER: str(given)}


def outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {tensor["name"]: tensor for tensor in response.json()["outputs"]}


def refused(response: httpx.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer.keys() == {"error"}
    return str(answer["error"])


def test_plain_json_and_a_column_of_ids(client: InProcess):
    plain = outputs(post(client, body()))
    assert plain["label"]["datatype"] == "BYTES"
    assert plain["probabilities"]["shape"] == [2, 3]
    column = outputs(post(client, body(shape=[2, 1], data=[[105], [100]])))
    assert column["probabilities"]["data"] == plain["probabilities"]["data"]
    assert outputs(post(client, body(shape=[0], data=[])))["probabilities"]["shape"] == [0, 3]


def test_regression_answers_values(client: InProcess):
    answered = outputs(post(client, body(), "/v2/models/value/infer"))
    assert answered.keys() == {"value"}
    assert answered["value"]["shape"] == [2, 1]
    asked = body() | {"outputs": [{"name": "probabilities"}]}
    assert "no such output" in refused(post(client, asked, "/v2/models/value/infer"))


def test_parameters_choose_mode_and_seed(client: InProcess):
    def rows(**parameters: Any) -> Any:
        asked = body() | {"outputs": [{"name": "embedding"}], "parameters": parameters}
        return outputs(post(client, asked))["embedding"]["data"]

    assert rows(mode="sampled", seed=1) == rows(mode="sampled", seed=1)
    assert rows(mode="sampled", seed=1) != rows(mode="sampled", seed=2)
    assert "no embedding table" in refused(
        post(client, body() | {"parameters": {"mode": "table"}}), 409
    )


HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "null": b"null",
    "no inputs": {"inputs": []},
    "two inputs": {"inputs": body()["inputs"] * 2},
    "other input": body(name="x"),
    "deep": b'{"inputs": ' + b"[" * 9000,
    "deep data": b'{"inputs":[{"name":"nodes","shape":[1],"datatype":"INT64","data":'
    + b"[" * 500 + b"1" + b"]" * 500 + b"}]}",
    "no data": {"inputs": [{"name": "nodes", "shape": [2], "datatype": "INT64"}]},
    "fewer": body(shape=[3]),
    "more": body(shape=[1]),
    "negative": body(shape=[-2]),
    "huge": body(shape=[2**31]),
    "overflow": body(shape=[2**32, 2**32]),
    "matrix": body(shape=[1, 2]),
    "no shape": body(shape=[]),
    "float shape": body(shape=[2.0]),
    "FP32": body(datatype="FP32"),
    "lower case": body(datatype="int64"),
    "floats": body(data=[1.0, 2.0]),
    "true": body(data=[True, False]),
    "NaN": b'{"inputs":[{"name":"nodes","shape":[1],"datatype":"INT64","data":[NaN]}]}',
    "2^63": body(data=[2**63, 1]),
    "texts": body(data=["105", "100"]),
    "numbers as texts": body(datatype="BYTES"),
    "nulls": body(data=[None, None]),
    "unknown ids": body(data=[1, 2]),
    "both": body(parameters={"binary_data_size": 16}),
    "mode": body() | {"parameters": {"mode": "best"}},
    "seed": body() | {"parameters": {"seed": -1}},
    "seed true": body() | {"parameters": {"seed": True}},
    "flag": body() | {"parameters": {"binary_data_output": "yes"}},
    "output": body() | {"outputs": [{"name": "weights"}]},
    "output twice": body() | {"outputs": [{"name": "label"}, {"name": "label"}]},
    "id number": body() | {"id": 7},
    "too many": body(shape=[101], data=[105] * 101),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_400(client: InProcess, name: str):
    assert len(refused(post(client, HOSTILE[name]))) < 1000


IDS = struct.pack("<qq", 105, 100)
TEXTS = struct.pack("<I", 3) + b"105"
LIES = {
    "no header": (binary({"parameters": {"binary_data_size": 16}}, IDS)[0], {}),
    "short": binary({"parameters": {"binary_data_size": 8}}, IDS),
    "long": binary({"parameters": {"binary_data_size": 24}}, IDS),
    "negative": binary({"parameters": {"binary_data_size": -16}}, IDS),
    "2^63": binary({"parameters": {"binary_data_size": 2**63}}, IDS),
    "float": binary({"parameters": {"binary_data_size": 16.0}}, IDS),
    "text": binary({"parameters": {"binary_data_size": "16"}}, IDS),
    "true": binary({"parameters": {"binary_data_size": True}}, b"\0"),
    "nobody's bytes": binary({"data": [105, 100]}, IDS),
    "shape": binary({"parameters": {"binary_data_size": 16}, "shape": [3]}, IDS),
    "cut text": binary({"parameters": {"binary_data_size": 6}, "shape": [1],
                        "datatype": "BYTES"}, TEXTS[:6]),
    "cut length": binary({"parameters": {"binary_data_size": 9}, "shape": [2],
                          "datatype": "BYTES"}, TEXTS + b"\1\0"),
    "long text": binary({"parameters": {"binary_data_size": 4}, "shape": [1],
                         "datatype": "BYTES"}, b"\xff\xff\xff\xff"),
    "not UTF-8": binary({"parameters": {"binary_data_size": 5}, "shape": [1],
                         "datatype": "BYTES"}, b"\1\0\0\0\xff"),
    "one text for two": binary({"parameters": {"binary_data_size": 7}, "datatype": "BYTES"}, TEXTS),
    "header beyond": binary({"parameters": {"binary_data_size": 16}}, IDS, 10_000),
    "header negative": binary({"parameters": {"binary_data_size": 16}}, IDS, "-1"),
    "header text": binary({"parameters": {"binary_data_size": 16}}, IDS, "ten"),
    "header of 2^64": binary({"parameters": {"binary_data_size": 16}}, IDS, 2**64),
    "header too short": binary({"parameters": {"binary_data_size": 16}}, IDS, 10),
    "header empty": binary({"parameters": {"binary_data_size": 16}}, IDS, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_bytes_is_400(client: InProcess, name: str):
    content, headers = LIES[name]
    refused(client.post(URL, content=content, headers=headers))


def test_truth_about_bytes_is_answered(client: InProcess):
    content, headers = binary({"parameters": {"binary_data_size": 16}}, IDS)
    assert outputs(client.post(URL, content=content, headers=headers))["label"]["shape"] == [2]


@pytest.mark.parametrize(
    "path", ["default/versions/0", "default/versions/x", "default/versions/-1", "nope",
             "default/versions/" + "9" * 40, "%2e%2e", "default/versions/%31%0A", "a b"],
)  # fmt: skip
def test_a_path_to_nothing_is_404_in_the_protocols_words(client: InProcess, path: str):
    for tail in ("", "/ready"):
        refused(client.get(f"/v2/models/{path}{tail}"), 404)
    refused(post(client, body(), f"/v2/models/{path}/infer"), 404)


def test_other_refusals_speak_the_protocol_too(client: InProcess, world: World):
    refused(client.get("/v2/nope"), 404)
    refused(client.get(URL), 405)
    refused(post(client, b" " * 30_000), 413)
    refused(post(client, body(), content_encoding="gzip"), 415)
    with in_process(world.settings(api_keys="a:read:" + "0" * 64)) as closed:
        assert "API key" in refused(closed.get("/v2"), 401)
        assert closed.get("/v2/health/ready").status_code == 200
