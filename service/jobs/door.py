"""What a server does with jobs: takes them, shows them, cancels them, hands out their results."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import numpy as np

from gnn.tasks import WITHOUT_OUTPUTS
from sampling.errors import UnknownNodeError
from service.errors import (
    JobExpiredError,
    JobNotDoneError,
    JobStoreError,
    LimitError,
    NoSpaceError,
    NotCalibratedError,
    RequestError,
    WrongTaskError,
)
from service.jobs.folder import JobFolder, write_ids
from service.jobs.job import STATES, Job, JobSpec, Part, State, new_job_id
from service.jobs.published import PublishedTables
from service.jobs.queue import JobQueue
from service.jobs.request import JobRequest, document_of
from service.jobs.retention import discard, has_expired, sweep
from service.predictor import Predictor
from service.registry import ServedModel
from service.settings import Settings

__all__ = ["JobDoor"]

MAX_NAMED = 10_000
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JobDoor:
    """Jobs as one server process sees them.

    Args:
        queue: their rows.
        predictor: graph and models that jobs are checked against.
        settings: limits and directories.
    """

    def __init__(self, queue: JobQueue, predictor: Predictor, settings: Settings) -> None:
        self.queue, self.predictor, self.settings = queue, predictor, settings
        root = settings.jobs_directory / "published"
        self.published = PublishedTables(root, predictor.registry)

    def submit(self, request: JobRequest) -> Job:
        """Check a job and let it wait for a runner.

        Raises:
            ModelNotFoundError, VersionNotFoundError: there is no such model.
            UnloadedError: it was told not to answer.
            WrongTaskError, NotCalibratedError: the model has not what is asked for.
            UnknownNodeError: ids are not in the graph; names the first of them.
            LimitError: more ids than are allowed, or a result larger than is kept.
            TooManyJobsError: too many jobs wait.
            NoSpaceError: the ids cannot be kept.
            JobStoreError: the row cannot be written.
        """
        self._check_ids(request)
        model = self.predictor.registry.get(request.model, request.version)
        _check_columns(request, model)
        spec = self._spec(request, model)
        self._check_size(spec, model)
        job = Job(id=new_job_id(), spec=spec, created=time.time())
        folder = JobFolder(self.settings.jobs_directory, job.id)
        try:
            if request.nodes is not None:
                write_ids(folder.nodes, request.nodes, self.predictor.data.ids)
            self.queue.store.insert(job, self.settings.max_queued_jobs)
        except OSError as error:
            folder.remove()
            if error.errno in FULL:
                raise NoSpaceError from error
            raise JobStoreError(str(folder.root), error.strerror or str(error)) from error
        except BaseException:
            folder.remove()
            raise
        return job

    def cancel(self, job_id: str) -> Job:
        """Cancel a job, or discard the result of one that is closed.

        Raises:
            JobNotFoundError: there is none of this id.
        """
        job = self.queue.get(job_id)
        if job.is_active:
            job = self.queue.cancel(job_id)
        return job if job.is_active else discard(self.queue, self.settings, job)

    def listed(self, limit: int, state: State | None) -> list[Job]:
        """The newest jobs, in one state or all."""
        states = STATES if state is None else (state,)
        return self.queue.store.listed(states, limit, newest_first=True)

    def part(self, job_id: str, number: int | None) -> tuple[Path, Part]:
        """A file of a result.

        Raises:
            JobNotFoundError, JobNotDoneError, JobExpiredError: there is none.
            RequestError: there is no such part, or there are several and none was named.
        """
        job = self.queue.get(job_id)
        if job.result is None:
            raise JobNotDoneError(job.id, job.state)
        if has_expired(job, self.settings):
            raise JobExpiredError(job.id)
        count = len(job.result.parts)
        if (number is None and count > 1) or not 0 <= (number or 0) < count:
            raise RequestError(f"part: the result has {count}; ask for ?part=0 to {count - 1}")
        part = job.result.parts[number or 0]
        return JobFolder(self.settings.jobs_directory, job.id).result / part.name, part

    def document(self, job: Job) -> dict[str, Any]:
        """A job as its user reads it."""
        return document_of(job, self.settings.job_ttl_hours, has_expired(job, self.settings))

    def sweep(self) -> None:
        """Forget what has expired."""
        sweep(self.queue, self.settings)

    def _check_ids(self, request: JobRequest) -> None:
        ids = request.nodes or []
        if len(ids) > self.settings.max_job_ids:
            raise LimitError("nodes", self.settings.max_job_ids, len(ids))
        dense = self.predictor.data.ids.find(ids)
        if (dense < 0).any():
            unknown = [ids[i] for i in np.flatnonzero(dense < 0).tolist()]
            raise UnknownNodeError(list(dict.fromkeys(unknown))[:MAX_NAMED])

    def _spec(self, request: JobRequest, model: ServedModel) -> JobSpec:
        meta = self.predictor.data.meta
        return JobSpec(
            kind=request.kind,
            model=model.name,
            version=model.version,
            model_digest=model.saved.info.digest,
            graph=meta.fingerprint,
            graph_version=meta.version,
            num_nodes=meta.num_nodes if request.nodes is None else len(request.nodes),
            every_node=request.nodes is None,
            format=request.format,
            include=request.columns,
            publish=request.publish,
        )

    def _check_size(self, spec: JobSpec, model: ServedModel) -> None:
        gnn = model.saved.model
        widths = {"embedding": gnn.d_embedding, "probabilities": gnn.config.d_out}
        size = 4 * spec.num_nodes * sum(widths.get(name, 2) for name in spec.include)
        if size > self.settings.job_results_bytes:
            raise LimitError("bytes of the result", self.settings.job_results_bytes, size)


def _check_columns(request: JobRequest, model: ServedModel) -> None:
    """Refuse what the job would fail with.

    Raises:
        WrongTaskError: the model has no labels and no values.
        NotCalibratedError: it has no prediction sets.
    """
    info = model.saved.info
    if info.task in WITHOUT_OUTPUTS and set(request.columns) != {"embedding"}:
        raise WrongTaskError(model.name, info.task, "labels or values of nodes")
    if "prediction_set" in request.columns and info.calibration is None:
        raise NotCalibratedError(model.name, model.version)
