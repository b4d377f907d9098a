"""Where the files of jobs lie.

JOBS/jobs.sqlite                  rows, where no Redis keeps them
JOBS/<id>/nodes.parquet           ids that were sent
JOBS/<id>/table, rows             unfinished rows, with their journals
JOBS/<id>/result/part-00000.parquet …   what came of it
JOBS/published/.tables/<id>       published embedding tables
JOBS/published/<model>@<version>  link to the one that is served
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sampling import NodeIds
from sampling.errors import DamagedError

__all__ = ["JobFolder", "fsync", "read_ids", "write_ids"]


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The folder of one job."""

    root: Path
    job_id: str

    @property
    def path(self) -> Path:
        return self.root / self.job_id

    @property
    def nodes(self) -> Path:
        """Ids that were sent."""
        return self.path / "nodes.parquet"

    @property
    def table(self) -> Path:
        """Rows of every node, as `gnn.embed` makes them."""
        return self.path / "table"

    @property
    def rows(self) -> Path:
        """Rows of the ids that were sent."""
        return self.path / "rows"

    @property
    def result(self) -> Path:
        """Finished parts."""
        return self.path / "result"

    @property
    def published(self) -> Path:
        """The table, once it is published."""
        return self.root / "published" / ".tables" / self.job_id

    def keep_result(self) -> None:
        """Remove everything but the result."""
        for child in self.path.iterdir():
            if child.is_dir() and child != self.result:
                shutil.rmtree(child, ignore_errors=True)
        self.nodes.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)


def write_ids(path: Path, ids: Sequence[int | str], known: NodeIds) -> None:
    """Keep ids in the order they were sent, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.string() if known.is_string else pa.int64()
    with path.open("wb") as file:
        pq.write_table(pa.table({"id": pa.array(ids, kind)}), file)
        file.flush()
        os.fsync(file.fileno())


def read_ids(path: Path) -> pa.ChunkedArray:
    """Those ids.

    Raises:
        DamagedError: the file is missing or holds something else.
    """
    try:
        table = pq.read_table(path, columns=["id"])
        table.validate(full=True)
        ids = table["id"]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DamagedError(path.parent, path.name, f"cannot be read ({error})") from None
    if ids.null_count or ids.type not in (pa.string(), pa.int64()):
        raise DamagedError(path.parent, path.name, "holds something else than ids")
    return ids


def fsync(path: Path) -> None:
    """Make a file, or the names in a directory, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
