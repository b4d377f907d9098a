"""`python load_tests [--minutes 5] [--rate 100] [--workers 2]`: a whole run, judged and drawn.

Prepares something to serve, serves it, lets Locust ask, and writes records, picture and page into
--out. Options that are not listed here are handed on to Locust.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prepare import prepare
from report import draw, page, table
from verdict import read_records

HERE = Path(__file__).parent


def main(arguments: Sequence[str]) -> int:
    """Run; 1 where a threshold was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--world", type=Path, default=Path("build/load"))
    parser.add_argument("--out", type=Path, default=Path("build/load/report"))
    given, rest = parser.parse_known_args(arguments)
    prepare(given.world)
    given.out.mkdir(parents=True, exist_ok=True)
    records = given.out / "records.csv"
    with _serving(given.world, given.workers) as url:
        code = _locust(url, given.minutes, records, rest)
    found = read_records(records)
    draw(found, given.out / "latency.svg")
    (given.out / "report.html").write_text(page(found, given.out / "latency.svg"))
    (given.out / "report.md").write_text(table(found) + "\n")
    print(table(found))
    return code


@contextmanager
def _serving(world: Path, workers: int) -> Iterator[str]:
    words = ["serve", "--graph", world / "graph", "--models", world / "models", "--port", 0,
             "--workers", workers, "--jobs", world / "jobs", "--default-model", "default",
             "--log-level", "warning"]  # fmt: skip
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "service.cli", *map(str, words)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("serving on "):
            raise SystemExit("the service did not start")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait(timeout=60)


def _locust(url: str, minutes: float, records: Path, rest: Sequence[str]) -> int:
    words = ["-f", HERE / "locustfile.py", "--headless", "--only-summary", "-u", 6, "-r", 6,
             "--stop-timeout", 150, "--run-time", f"{round(minutes * 60)}s", "--host", url,
             "--records", records, *rest]  # fmt: skip
    command = [sys.executable, "-m", "locust", *map(str, words)]
    return subprocess.run(command, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
