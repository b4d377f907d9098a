"""The wire of the Open Inference Protocol v2 (KServe), binary tensor extension included.

A request is a JSON document; where `Inference-Header-Content-Length` says how long that is, the
tensors whose `binary_data_size` is given follow it in their order. Numbers are little endian and
row by row; an element of BYTES is its length, uint32, and its bytes. An answer is put together the
same way. Everything here is from a stranger: sizes, shapes and types have to agree to the byte.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from service.errors import LimitError, RequestError
from service.exchange import parse

__all__ = ["InferBody", "InferRequest", "OutputTensor", "encode_answer", "read_request"]

Text = Annotated[str, Field(max_length=1024)]
Parameters = Annotated[dict[str, Any], Field(max_length=64)]
Size = Annotated[int, Field(ge=0, le=2**31 - 1)]

LENGTH = struct.Struct("<I")
NODES = "nodes"
MOST_ID_BYTES = 4096
MODES = ("auto", "table", "exact", "sampled")
BINARY_TYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}


class _Part(BaseModel):
    """Strict where it matters; fields of other servers' dialects are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, frozen=True)

    parameters: Parameters = Field(default_factory=dict)


class InputBody(_Part):
    """One input tensor."""

    name: Text = Field(description="`nodes`.")
    shape: list[Size] = Field(max_length=4, description="`[n]` or `[n, 1]`.")
    datatype: Text = Field(description="INT64 or BYTES, as the graph's ids are.")
    data: list[Any] | None = Field(None, description="The ids; absent where they follow as bytes.")


class OutputBody(_Part):
    """One output that is asked for."""

    name: Text = Field(description="`label`, `probabilities`, `value` or `embedding`.")


class InferBody(_Part):
    """Body of `POST /v2/models/{name}/infer`: node ids, and which outputs to answer."""

    id: Text | None = Field(None, description="Comes back with the answer.")
    inputs: list[InputBody] = Field(min_length=1, max_length=16)
    outputs: list[OutputBody] = Field(default_factory=list, max_length=16)


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What is asked, checked.

    Attributes:
        id: comes back with the answer.
        nodes: node ids.
        outputs: (name, whether it is answered as bytes), in the order asked for.
        all_binary: the same of outputs that are not named.
        mode: as in `/v1/nodes/predict`.
        seed: as there.
    """

    id: str | None
    nodes: list[int] | list[str]
    outputs: list[tuple[str, bool]]
    all_binary: bool
    mode: Literal["auto", "table", "exact", "sampled"]
    seed: int


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output: numbers, or one text per row."""

    name: str
    datatype: Literal["FP32", "INT64", "BYTES"]
    values: NDArray[Any] | list[str]

    @property
    def shape(self) -> list[int]:
        return list(self.values.shape) if isinstance(self.values, np.ndarray) else [
            len(self.values)
        ]  # fmt: skip

    def to_bytes(self) -> bytes:
        if isinstance(self.values, np.ndarray):
            values: NDArray[Any] = self.values.astype(BINARY_TYPES[self.datatype], copy=False)
            return values.tobytes()
        texts = [text.encode() for text in self.values]
        return b"".join(LENGTH.pack(len(text)) + text for text in texts)

    def to_json(self) -> Any:
        return self.values.ravel() if isinstance(self.values, np.ndarray) else self.values


def read_request(body: bytes, header_length: str | None, max_ids: int) -> InferRequest:
    """A request from its body.

    Args:
        body: the JSON document and the bytes behind it.
        header_length: the `Inference-Header-Content-Length`, or None.
        max_ids: node ids at most.

    Raises:
        MalformedJsonError, LimitError, RequestError: it does not fit.
    """
    document, tail = _split(body, header_length)
    asked = parse(InferBody, document)
    if [tensor.name for tensor in asked.inputs] != [NODES]:
        raise RequestError("give one input, and call it `nodes`")
    [tensor] = asked.inputs
    count = _count(tensor, max_ids)
    nodes = _from_bytes(tensor, count, tail) if _is_binary(tensor) else _from_json(tensor, count)
    if not _is_binary(tensor) and tail:
        raise RequestError(f"{len(tail)} bytes follow the document; no input has a size for them")
    all_binary = _flag(asked.parameters, "binary_data_output")
    outputs = [(o.name, _flag(o.parameters, "binary_data", all_binary)) for o in asked.outputs]
    if len({name for name, _ in outputs}) < len(outputs):
        raise RequestError("an output is asked for twice")
    return InferRequest(
        asked.id, nodes, outputs, all_binary, _mode(asked.parameters), _seed(asked.parameters)
    )


def encode_answer(
    head: dict[str, Any], tensors: Sequence[tuple[OutputTensor, bool]]
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its document where bytes follow."""
    described, parts = [], list[bytes]()
    for tensor, is_binary in tensors:
        entry = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if is_binary:
            parts.append(tensor.to_bytes())
            described.append({**entry, "parameters": {"binary_data_size": len(parts[-1])}})
        else:
            described.append({**entry, "data": tensor.to_json()})
    document = orjson.dumps({**head, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([document, *parts]), len(document) if parts else None


def _split(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    if not re.fullmatch(r"[0-9]{1,10}", header_length) or int(header_length) > len(body):
        raise RequestError(
            "Inference-Header-Content-Length must be the length of the document at the start of "
            f"the body, which has {len(body)} bytes"
        )
    return body[: int(header_length)], body[int(header_length) :]


def _count(tensor: InputBody, max_ids: int) -> int:
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]):
        raise RequestError(f"nodes: shape {tensor.shape} is not [n] or [n, 1]")
    if tensor.datatype not in ("INT64", "BYTES"):
        raise RequestError("nodes: the datatype must be INT64 or BYTES")
    if tensor.shape[0] > max_ids:
        raise LimitError(NODES, max_ids, tensor.shape[0])
    return tensor.shape[0]


def _is_binary(tensor: InputBody) -> bool:
    if "binary_data_size" not in tensor.parameters:
        return False
    if tensor.data is not None:
        raise RequestError("nodes: give `data` or `binary_data_size`, not both")
    return True


def _from_bytes(tensor: InputBody, count: int, tail: bytes) -> list[int] | list[str]:
    size = tensor.parameters["binary_data_size"]
    if type(size) is not int or size != len(tail):
        raise RequestError(f"nodes: binary_data_size must be {len(tail)}, the bytes that follow")
    if tensor.datatype == "BYTES":
        texts = list(_texts(tail))
        if len(texts) != count:
            raise RequestError(f"nodes: got {len(texts)} texts where the shape says {count}")
        return texts
    if size != 8 * count:
        raise RequestError(f"nodes: {count} INT64 numbers take {8 * count} bytes, got {size}")
    ids: list[int] = np.frombuffer(tail, "<i8").tolist()
    return ids


def _texts(tail: bytes) -> Iterator[str]:
    place = 0
    while place < len(tail):
        if place + LENGTH.size > len(tail):
            raise RequestError("nodes: the bytes end within the length of a text")
        (size,) = LENGTH.unpack_from(tail, place)
        place += LENGTH.size
        if size > min(MOST_ID_BYTES, len(tail) - place):
            raise RequestError(f"nodes: a text of {size} bytes is longer than what is there or may")
        try:
            yield tail[place : place + size].decode()
        except UnicodeDecodeError:
            raise RequestError("nodes: a text is not UTF-8") from None
        place += size


def _from_json(tensor: InputBody, count: int) -> list[int] | list[str]:
    if tensor.data is None:
        raise RequestError("nodes: give `data`, or bytes and their `binary_data_size`")
    if len(tensor.data) != count:
        raise RequestError(f"nodes: got {len(tensor.data)} ids where the shape says {count}")
    # [[1], [2]] is how some clients write the shape [n, 1]
    flat = [v[0] if isinstance(v, list) and len(v) == 1 else v for v in tensor.data]
    if tensor.datatype == "INT64":
        if not all(type(v) is int and -(2**63) <= v < 2**63 for v in flat):
            raise RequestError("nodes: data of INT64 must be whole numbers of 64 bits")
    elif not all(isinstance(v, str) and len(v) <= MOST_ID_BYTES for v in flat):
        raise RequestError("nodes: data of BYTES must be texts")
    return flat


def _flag(parameters: dict[str, Any], name: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(f"parameter {name} must be true or false")
    return value


def _mode(parameters: dict[str, Any]) -> Any:
    mode = parameters.get("mode", "auto")
    if mode not in MODES:
        raise RequestError(f"parameter mode must be one of {', '.join(MODES)}")
    return mode


def _seed(parameters: dict[str, Any]) -> int:
    seed = parameters.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise RequestError("parameter seed must be a whole number from 0 to 2^63 - 1")
    return seed
