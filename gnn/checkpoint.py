"""Models on disk: `MODELS/NAME/<version>/`, written whole or not at all, refused when damaged.

    model.json            what the model is, and checksums of the other files
    weights.safetensors   its weights
    metrics.json          {"train": {…}, "val": {…}, "test": {…}}
    card.md               the same for people, with what the certificate says
    learning_curve.svg    a picture for the card, where matplotlib was installed
    certificate.json      by how much symmetries change the answers; may be added or replaced later

Apart from the certificate and its section of the card, which has no part in the card's checksum, a
version never changes once it is there; training again adds the next one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from gnn.brought import check_allowed
from gnn.calibration import Calibration
from gnn.card import data_facts, model_card, with_certificate
from gnn.certify import Certificate
from gnn.data import Data
from gnn.errors import NotCertifiedError, UnknownModelError, UserModuleError
from gnn.identity import graph_fingerprint
from gnn.inputs import with_inputs
from gnn.measure import Measured
from gnn.model import GNN, ModelConfig, unfilled_model
from gnn.model_config import is_brought
from gnn.model_paths import check_name, is_version, newest_version, versions_in
from gnn.pictures import learning_curve
from gnn.train_config import TrainConfig
from sampling import Dataset
from sampling.errors import DamagedError, ExistsError, InputError
from sampling.graph.arrays import publish, read_json, write_json
from sampling.graph.manifest import parsed

__all__ = [
    "ModelInfo",
    "SavedModel",
    "add_certificate",
    "load_model",
    "model_info",
    "save_model",
]

FORMAT_VERSION = 1
INFO, WEIGHTS, METRICS, CARD = "model.json", "weights.safetensors", "metrics.json", "card.md"
CURVE, CERTIFICATE = "learning_curve.svg", "certificate.json"

Metrics = dict[str, dict[str, float]]


class ModelInfo(BaseModel):
    """What `model.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    name: str
    version: int = Field(ge=1)
    task: str
    config: ModelConfig
    classes: list[int] | list[str] = Field(description="names in the order of the outputs")
    label_kind: Literal["class", "real", "multi"] = Field(
        default="class", description="of the labels: multi is any number of classes per node"
    )
    fanouts: list[int] = Field(description="neighbors per layer in training, -1 for all")
    graph_name: str
    graph_version: int
    graph_fingerprint: str
    training: dict[str, Any]
    calibration: Calibration | None = None
    created: str = Field(description="UTC, ISO 8601")
    files: dict[str, str] = Field(description="file name to SHA-256")
    digest: str = Field(default="", description="SHA-256 of all the above: equal, same model")

    @property
    def d_in(self) -> int:
        """Width of the input rows."""
        return self.config.d_in


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model as it was read from disk.

    Attributes:
        model: in evaluation mode.
        info: what `model.json` says.
        metrics: per part, as measured after training.
        card: Markdown for people.
        path: the version's directory.
        certificate: of these weights, where one was made.
    """

    model: GNN
    info: ModelInfo
    metrics: Metrics
    card: str
    path: Path
    certificate: Certificate | None = None

    def check(self, data: Dataset) -> None:
        """Refuse a graph that this model cannot read.

        Raises:
            SchemaMismatchError: it has other features, types or nodes than the model reads.
        """
        with_inputs(data, self.model.config)

    def check_certificate(self) -> None:
        """Refuse a model whose symmetry nobody has measured, or whose measure did not pass.

        Raises:
            NotCertifiedError: it has no certificate that passed.
        """
        if self.certificate is None or not self.certificate.passed:
            failed = self.certificate is not None
            raise NotCertifiedError(self.info.name, self.info.version, failed=failed)


def save_model(
    directory: str | Path,
    model: GNN,
    data: Data,
    train_config: TrainConfig,
    metrics: Metrics | Measured,
    *,
    certificate: Certificate | None = None,
    history: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write the next version of a model; returns `directory/<version>`.

    Args:
        directory: `MODELS/NAME`, made where it is not there.
        model: trained.
        data: what it was trained on.
        train_config: how.
        metrics: per part, or all that `measure` found.
        certificate: what `certify` found of this model.
        history: of every epoch, for the learning curve.

    Raises:
        ModelNameError: the last part of `directory` is not a model name.
        InputError: a weight is not finite.
    """
    directory = Path(directory)
    check_name(directory.name)
    weights = {name: t.detach().contiguous() for name, t in model.state_dict().items()}
    bad = _not_finite(weights)
    if bad:
        raise InputError(f"weight {bad} is not finite; train again with a lower learning rate")
    measured = metrics if isinstance(metrics, Measured) else Measured(metrics, {})
    files = {WEIGHTS: save(weights), METRICS: json.dumps(measured.metrics, indent=1).encode()}
    picture = learning_curve(history)
    if picture is not None:
        files[CURVE] = picture
    facts = data_facts(data)
    while True:
        info = _describe(directory, model, data, train_config, measured.calibration)
        card = model_card(
            info.model_dump(mode="json"),
            measured,
            facts=facts,
            picture=CURVE if picture else None,
        )
        info = _sealed(info, files | {CARD: card.encode()})
        shown = with_certificate(card, certificate).encode()
        try:
            return _write(directory / str(info.version), info, files | {CARD: shown}, certificate)
        except (ExistsError, OSError) as error:
            taken = isinstance(error, ExistsError) or error.errno in (errno.EEXIST, errno.ENOTEMPTY)
            if not taken:
                raise


def model_info(path: str | Path) -> ModelInfo:
    """What `model.json` of `MODELS/NAME/<version>` says, without its weights.

    Raises:
        DamagedError: it is missing or wrong.
        FutureFormatError: written by a newer version of this project.
    """
    return _read_info(Path(path))


def load_model(path: str | Path, allow_modules: Sequence[str] = ()) -> SavedModel:
    """Read `MODELS/NAME`, its newest version, or `MODELS/NAME/<version>`.

    Args:
        path: the model.
        allow_modules: modules that it may import a convolution of the user's from; importing one
            runs its code.

    Raises:
        ModuleNotAllowedError: it names a convolution of another module.
        UserModuleError: that convolution cannot be made.
        UnknownModelError: there is no model.
        DamagedError: a file is missing, changed or does not fit the others.
        FutureFormatError: written by a newer version of this project.
    """
    path = Path(path)
    if not (path / INFO).exists() and not is_version(path.name):
        path = path / str(newest_version(path))
    if not path.is_dir():
        raise UnknownModelError(path.parent, f"version {path.name}", versions_in(path.parent))
    info = _read_info(path)
    check_allowed(info.config.conv, allow_modules, path)
    files = {name: _read_file(path, name, d) for name, d in info.files.items() if name != CARD}
    certificate = _read_certificate(path, info.digest)
    return SavedModel(
        _read_model(path, info.config, files[WEIGHTS]),
        info,
        _read_metrics(path, files[METRICS]),
        with_certificate(_read_card(path, info.files.get(CARD)), certificate),
        path,
        certificate,
    )


def add_certificate(saved: SavedModel, certificate: Certificate) -> None:
    """Put a certificate beside a model, in place of the one that it has, and on its card.

    Each file is replaced whole, the certificate last, so that who sees a new one sees all of it.
    The card of a version whose checksum covers its first certificate stays as it is.
    """
    sealed = with_certificate(saved.card, None).encode()
    if hashlib.sha256(sealed).hexdigest() == saved.info.files.get(CARD):
        temporary = saved.path / f".{CARD}.{uuid.uuid4().hex}"
        try:
            _write_durably(temporary, with_certificate(saved.card, certificate).encode())
            temporary.replace(saved.path / CARD)
        finally:
            temporary.unlink(missing_ok=True)
    write_json(saved.path / CERTIFICATE, _of_model(certificate, saved.info.digest))


def _describe(
    directory: Path,
    model: GNN,
    data: Data,
    train_config: TrainConfig,
    calibration: Calibration | None,
) -> ModelInfo:
    return ModelInfo(
        name=directory.name,
        version=max(versions_in(directory), default=0) + 1,
        task=train_config.task,
        config=model.config,
        classes=data.meta.labels.classes if data.meta.labels else [],
        label_kind=data.meta.labels.kind if data.meta.labels else "class",
        fanouts=list(train_config.fanouts or [-1] * model.num_layers),
        graph_name=data.meta.name,
        graph_version=data.meta.version,
        graph_fingerprint=graph_fingerprint(data),
        training=asdict(train_config),
        calibration=calibration,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        files={},
    )


def _sealed(info: ModelInfo, files: Mapping[str, bytes]) -> ModelInfo:
    """With the checksums of its files and its digest."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    info = info.model_copy(update={"files": sums})
    return info.model_copy(update={"digest": _digest(info.model_dump(mode="json"))})


def _write(
    path: Path,
    info: ModelInfo,
    files: Mapping[str, bytes],
    certificate: Certificate | None,
) -> Path:
    with publish(path) as temporary:
        for name, content in files.items():
            _write_durably(temporary / name, content)
        if certificate is not None:
            write_json(temporary / CERTIFICATE, _of_model(certificate, info.digest))
        write_json(temporary / INFO, info.model_dump(mode="json"))
    return path


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _of_model(certificate: Certificate, digest: str) -> dict[str, Any]:
    return certificate.model_copy(update={"model_digest": digest}).model_dump(mode="json")


def _digest(content: Mapping[str, Any]) -> str:
    described = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _read_info(path: Path) -> ModelInfo:
    content = read_json(path / INFO)
    try:
        info = parsed(path, INFO, ModelInfo, content, FORMAT_VERSION)
    except InputError as error:
        raise DamagedError(path, INFO, f"describes no model: {error}") from None
    if info.digest != _digest(content):
        raise DamagedError(path, INFO, "does not have the digest of its content")
    if not {WEIGHTS, METRICS} <= set(info.files) <= {WEIGHTS, METRICS, CARD, CURVE}:
        raise DamagedError(path, INFO, f"lists the files {', '.join(sorted(info.files))}")
    return info


def _read_card(path: Path, digest: str | None) -> str:
    """The card as it lies there; what it says of symmetry has no part in its checksum.

    Versions from before that have a checksum of the whole card, or none.
    """
    card = path / CARD
    if digest is None:
        return card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    content = _read_bytes(path, CARD)
    text = content.decode(errors="replace")
    sealed = with_certificate(text, None).encode()
    if hashlib.sha256(sealed).hexdigest() != digest:
        _check_sum(path, CARD, content, digest)
    return text


def _read_certificate(path: Path, digest: str) -> Certificate | None:
    if not (path / CERTIFICATE).is_file():
        return None
    certificate = parsed(path, CERTIFICATE, Certificate, read_json(path / CERTIFICATE))
    if certificate.model_digest != digest:
        raise DamagedError(path, CERTIFICATE, "belongs to another model")
    return certificate


def _read_file(path: Path, name: str, digest: str) -> bytes:
    content = _read_bytes(path, name)
    _check_sum(path, name, content, digest)
    return content


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except FileNotFoundError:
        raise DamagedError(path, name, "is missing") from None


def _check_sum(path: Path, name: str, content: bytes, digest: str) -> None:
    got = hashlib.sha256(content).hexdigest()
    if got != digest:
        raise DamagedError(path, name, f"has checksum {got[:16]}… instead of {digest[:16]}…")


def _read_model(path: Path, config: ModelConfig, content: bytes) -> GNN:
    try:
        weights = load(content)
    except (SafetensorError, ValueError) as error:
        raise DamagedError(path, WEIGHTS, f"is not a safetensors file ({error})") from None
    model = unfilled_model(config)
    fault = _misfit(model.state_dict(), weights)
    if fault and is_brought(config.conv):
        raise UserModuleError(config.conv, f"is not what {path} was trained with: that {fault}")
    if fault:
        raise DamagedError(path, WEIGHTS, fault)
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(False).eval()


def _misfit(expected: dict[str, Tensor], weights: dict[str, Tensor]) -> str:
    """What is wrong with the weights of a model, or an empty string."""
    for name in sorted(expected.keys() ^ weights.keys()):
        return f"{'lacks' if name in expected else 'holds an unknown'} tensor {name}"
    for name, tensor in weights.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            return (
                f"holds {name} as {tensor.dtype} {tuple(tensor.shape)} instead of "
                f"{wanted.dtype} {tuple(wanted.shape)}"
            )
    bad = _not_finite(weights)
    return f"holds values in {bad} that are not finite" if bad else ""


def _not_finite(weights: Mapping[str, Tensor]) -> str:
    return next((name for name, t in weights.items() if not torch.isfinite(t).all()), "")


def _read_metrics(path: Path, content: bytes) -> Metrics:
    try:
        metrics = json.loads(content)
    except ValueError as error:
        raise DamagedError(path, METRICS, f"is not JSON ({error})") from None
    if not isinstance(metrics, dict):
        raise DamagedError(path, METRICS, "is not a JSON object")
    return metrics
