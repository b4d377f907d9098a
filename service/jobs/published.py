"""Embedding tables that jobs publish, and the servers that notice.

A finished table moves to `published/.tables/<job>`; then `published/<model>@<version>` is renamed
onto a link to it, in one step. Every server process looks at the links; where one has changed it
maps the new table and answers from it, while requests under way keep the one they began with. The
registry takes a table only from exactly the weights and the graph that it serves. A link goes with
the version that it is for.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path

import structlog

from gnn import EmbeddingTable, list_models
from gnn.embeddings import MANIFEST
from sampling.errors import DamagedError, GnnError
from service.jobs.folder import JobFolder, fsync
from service.jobs.job import is_job_id
from service.registry import ModelRegistry

__all__ = ["PublishedTables", "publish_table", "remove_unlinked", "unlink_gone"]

TABLES = ".tables"
TARGET = re.compile(r"\.tables/([0-9a-f]{32})")
GRACE_S = 3600.0
"""Seconds that a table outlives its link: whoever read the link opens it in less."""

log = structlog.get_logger()

Signature = tuple[int, int]


def publish_table(folder: JobFolder, model: str, version: int) -> None:
    """Serve the job's table for a version from now on; a second call changes nothing.

    Args:
        folder: of the job.
        model: the model's own name.
        version: that made it.
    """
    root = folder.published.parent.parent
    folder.published.parent.mkdir(parents=True, exist_ok=True)
    if folder.table.exists():
        folder.table.rename(folder.published)
        fsync(folder.published.parent)
    temporary = root / f".{uuid.uuid4().hex}"
    temporary.symlink_to(f".tables/{folder.job_id}")
    temporary.replace(root / f"{model}@{version}")
    # as it was called while a model had one table for all its versions
    with suppress(FileNotFoundError):
        (root / model).unlink()
    fsync(root)


def unlink_gone(root: Path, models: Path) -> None:
    """Remove the links of versions that are no longer there.

    Args:
        root: `JOBS/published`.
        models: directory of models; one without any is taken to be away for a moment.
    """
    names = list_models(models)
    for path in _links(root) if names else ():
        model, _, version = path.name.partition("@")
        if version and (model not in names or not (models / model / version).is_dir()):
            path.unlink(missing_ok=True)
            log.info("table_forgotten", model=model, version=version)


def remove_unlinked(root: Path) -> None:
    """Remove the tables that no link has led to for a while."""
    linked = {name for path in _links(root) if (name := _target(path)) is not None}
    tables = root / TABLES
    for path in tables.iterdir() if tables.is_dir() else ():
        if is_job_id(path.name) and path.name not in linked and _age_s(path) > GRACE_S:
            shutil.rmtree(path, ignore_errors=True)


class PublishedTables:
    """The links as one server process last saw them.

    Args:
        root: `JOBS/published`.
        registry: what answers from the tables.
    """

    def __init__(self, root: Path, registry: ModelRegistry) -> None:
        self.root, self.registry = root, registry
        self._seen: dict[str, tuple[Signature, str]] = {}
        self._failed: dict[str, Signature] = {}

    def look(self, verify: bool = False) -> list[str]:
        """Take up what was published since the last look; returns the models it was for.

        Args:
            verify: read every byte of a table once and compare checksums.
        """
        taken, links = [], _links(self.root)
        self._drop({path.name for path in links})
        for path in links:
            signature = _signature(path)
            if signature is None or self._seen.get(path.name, (None,))[0] == signature:
                continue
            try:
                table = self._open(path, verify)
            except (GnnError, OSError) as error:  # said once, and tried again at every look
                if self._failed.get(path.name) != signature:
                    log.warning("table_unusable", model=path.name, reason=str(error))
                self._failed[path.name] = signature
                continue
            self._seen[path.name] = signature, table.meta.model_digest
            if self.registry.serve_table(table):
                taken.append(path.name.partition("@")[0])
            log.info("table_published", model=path.name, job=table.path.name)
        return taken

    def _drop(self, left: set[str]) -> None:
        """Forget the tables whose link is gone, unless another leads to one of the same model."""
        for name in self._seen.keys() - left:
            _, digest = self._seen.pop(name)
            if digest not in {kept for _, kept in self._seen.values()}:
                self.registry.drop_table(digest)

    def _open(self, link: Path, verify: bool) -> EmbeddingTable:
        name = _target(link)
        if name is None:
            raise DamagedError(self.root, link.name, "is not a link to a published table")
        return EmbeddingTable.open(self.root / TABLES / name, verify)


def _links(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_symlink() and path.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []


def _signature(path: Path) -> Signature | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _target(link: Path) -> str | None:
    """The job that a link leads to; nothing but a table of ours is followed."""
    try:
        match = TARGET.fullmatch(os.readlink(link))  # noqa: PTH115 - the text as it is, not a path
    except OSError:
        return None
    return match[1] if match else None


def _age_s(path: Path) -> float:
    """Seconds since a table was finished, or since its folder came."""
    manifest = path / MANIFEST
    try:
        return time.time() - (manifest if manifest.exists() else path).stat().st_ctime
    except FileNotFoundError:
        return 0.0
