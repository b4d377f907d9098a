"""One batch job: what is asked, how far it is, what came of it. The row that stores keep."""

from __future__ import annotations

import re
import secrets
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ACTIVE",
    "STATES",
    "Clock",
    "Failure",
    "Job",
    "JobSpec",
    "Lease",
    "Output",
    "Part",
    "Progress",
    "Result",
    "State",
    "is_job_id",
    "new_job_id",
]

State = Literal["queued", "running", "done", "failed", "canceled"]
Output = Literal["label", "probabilities", "embedding", "prediction_set"]

STATES: tuple[State, ...] = ("queued", "running", "done", "failed", "canceled")
ACTIVE: tuple[State, ...] = ("queued", "running")
JOB_ID = re.compile(r"[0-9a-f]{32}")


class Record(BaseModel):
    """Frozen and closed: what is read back from a store is what was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobSpec(Record):
    """What is asked, resolved at the door: nothing in it depends on when it runs.

    Attributes:
        kind: "embed" or "predict".
        model: the model's own name, never an alias.
        version: its version.
        model_digest: digest of its weights.
        graph: fingerprint of the graph.
        graph_version: the graph's version.
        num_nodes: rows of the result.
        every_node: the whole graph in its own order; else the ids in `nodes.parquet`.
        format: "parquet", or "npy" with the embeddings of the whole graph.
        include: columns.
        publish: serve the table when it is finished.
    """

    kind: Literal["embed", "predict"]
    model: str
    version: int
    model_digest: str
    graph: str
    graph_version: int
    num_nodes: int = Field(ge=0)
    every_node: bool
    format: Literal["parquet", "npy"] = "parquet"
    include: tuple[Output, ...]
    publish: bool = False


class Progress(Record):
    """How far the stage at work is.

    Attributes:
        stage: as in "layer 1/2", "rows" or "write".
        rows_done: rows of this stage that are finished.
        num_rows: rows of this stage.
        rows_per_s: those per second.
        seconds_left: until this stage ends, or None while that is not known.
    """

    stage: str
    rows_done: int
    num_rows: int
    rows_per_s: float = 0.0
    seconds_left: float | None = None


class Failure(Record):
    """Why a job failed: a stable word, and one sentence."""

    code: str
    detail: str


class Part(Record):
    """One file of a result."""

    name: str = Field(pattern=r"^(part-[0-9]{5}\.parquet|embeddings\.npy)$")
    rows: int
    size_bytes: int
    sha256: str


class Result(Record):
    """The files of a finished job; `sha256` is of all parts, one after the other."""

    rows: int
    size_bytes: int
    sha256: str
    parts: tuple[Part, ...]


class Clock(Record):
    """Now, as leases count it: seconds that only grow within an epoch (one boot of a machine, or
    one Redis). A lease of another epoch has ended with it.
    """

    epoch: str
    seconds: float


class Lease(Record):
    """Whose a running job is, and until when."""

    owner: str
    epoch: str
    until: float

    def has_expired(self, now: Clock) -> bool:
        return self.epoch != now.epoch or self.until <= now.seconds


class Job(Record):
    """The row of one job. `created`, `started` and `finished` are seconds since 1970.

    Attributes:
        lease: of the runner at work; None unless it is running.
        attempts: runs that were begun and not given back.
        cancels: whether it is to be canceled as soon as the runner looks.
        discarded: whether the result's files are gone.
    """

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    spec: JobSpec
    state: State = "queued"
    created: float
    started: float | None = None
    finished: float | None = None
    lease: Lease | None = None
    heartbeat: float | None = None
    attempts: int = 0
    cancels: bool = False
    progress: Progress | None = None
    error: Failure | None = None
    result: Result | None = None
    discarded: bool = False

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE


def new_job_id() -> str:
    """128 random bits: nobody guesses another's."""
    return secrets.token_hex(16)


def is_job_id(text: str) -> bool:
    """Whether a text could be an id; nothing else becomes part of a path or a key."""
    return JOB_ID.fullmatch(text) is not None
