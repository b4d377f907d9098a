"""One job from its row to its files: a generator of progress that can be stopped anywhere.

Every step can be repeated: rows have a journal, results and tables appear by rename. So a job that
is killed is simply run again, and ends in the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from gnn.errors import SchemaMismatchError
from gnn.rowfile import exclusive
from service.errors import GraphChangedError
from service.jobs.folder import JobFolder
from service.jobs.job import JobSpec, Progress, Result
from service.jobs.published import publish_table
from service.jobs.results import write_result
from service.jobs.rows import rows_of
from service.predictor import Predictor
from service.registry import ServedModel

__all__ = ["work_on"]


def work_on(
    spec: JobSpec, folder: JobFolder, open_predictor: Callable[[], Predictor]
) -> Generator[Progress, None, Result]:
    """Do a job, or what is left of it.

    Args:
        spec: what is asked.
        folder: where its files are.
        open_predictor: opens graph and models as they are on disk now.

    Raises:
        BusyError: another process works on it, though its lease has expired.
        GraphChangedError: the graph on disk is another than when the job was sent.
        SchemaMismatchError: so are the weights.
        GnnError: a file is damaged, or a model answers NaN.
        OSError: the disk is full.
    """
    with exclusive(folder.path):
        yield Progress(stage="open", rows_done=0, num_rows=spec.num_nodes)
        predictor = open_predictor()
        model = _checked(spec, predictor)
        rows = yield from rows_of(spec, folder, predictor, model)
        result = yield from write_result(
            spec, folder, rows, model, predictor.settings.job_part_bytes
        )
        if spec.publish:
            publish_table(folder, spec.model, spec.version)
        return result


def _checked(spec: JobSpec, predictor: Predictor) -> ServedModel:
    if predictor.data.meta.fingerprint != spec.graph:
        raise GraphChangedError
    model = predictor.registry.exactly(spec.model, spec.version)
    if model.saved.info.digest != spec.model_digest:
        raise SchemaMismatchError("weights", spec.model_digest, model.saved.info.digest)
    return model
