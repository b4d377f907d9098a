"""`PYTHONPATH=tests python -m faults [--share 0.1] [--only F3] [--write]`: the table of faults.

With --write the rows that were run take the places of theirs in docs/reliability.md, each when it
is done; the others stay. Every row is kept with its day and share in docs/.reliability.json.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faults.outcome import Outcome, table
from faults.suite import FAULTS, run_all
from faults.worlds import every_model
from world import ROOT

DOCUMENT = ROOT / "docs" / "reliability.md"
RECORD = ROOT / "docs" / ".reliability.json"
MARKS = ("<!-- faults -->", "<!-- end of faults -->")
ELSEWHERE = Outcome("F13", "whole containers killed, paused and restarted",
                    not_run="the composed stack has its own test")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the full counts")
    parser.add_argument("--only", default="", help="first words of names, as in F3")
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    given = parser.parse_args()
    rows, failures = list[str](), 0
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        world = every_model(folder / "world")
        for fault, outcome, seconds, wrong in run_all(world, folder, given.share, given.only):
            print(f"{fault}: {wrong or outcome.row()} ({seconds:.0f} s)", flush=True)
            failures += bool(wrong)
            for target in () if wrong else outcome.missed:
                print(f"{fault}: {target}", file=sys.stderr, flush=True)
            if wrong:
                outcome.not_run = f"FAILED: {wrong.splitlines()[0][:200]}"
            row = outcome.row(run_on(datetime.now(UTC), given.share))
            rows.append(row)
            if given.write:
                keep(fault, row)
    print(table([*rows, ELSEWHERE.row()]))
    return 1 if failures else 0


def run_on(now: datetime, share: float) -> str:
    """When a row was run, and which part of its full count."""
    return f"{now:%Y-%m-%d}" if share == 1.0 else f"{now:%Y-%m-%d}, {share:g} of it"


def keep(fault: str, row: str, record: Path = RECORD, document: Path = DOCUMENT) -> None:
    """Put a row in the place of the one of the same fault; those not known any more go.

    Args:
        fault: its name in `FAULTS`.
        row: of the table.
        record: file of all rows by fault.
        document: that shows them.
    """
    known: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    known[fault] = row
    rows = {name: known[name] for name in FAULTS if name in known}
    record.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    pattern = re.compile(f"{MARKS[0]}.*?{MARKS[1]}", re.DOTALL)
    filled = f"{MARKS[0]}\n{table([*rows.values(), ELSEWHERE.row()])}\n{MARKS[1]}"
    document.write_text(pattern.sub(lambda _: filled, document.read_text()))


if __name__ == "__main__":
    raise SystemExit(main())
