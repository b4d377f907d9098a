"""`PYTHONPATH=tests python -m faults [--share 0.1] [--only F3] [--write]`: the table of faults.

With --write it takes the place of the one in docs/reliability.md.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

from faults.outcome import Outcome, table
from faults.suite import run_all
from faults.worlds import every_model
from world import ROOT

DOCUMENT = ROOT / "docs" / "reliability.md"
MARKS = ("<!-- faults -->", "<!-- end of faults -->")
ELSEWHERE = Outcome("F13", "whole containers killed, paused and restarted",
                    not_run="the composed stack has its own test")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the full counts")
    parser.add_argument("--only", default="", help="first words of names, as in F3")
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    given = parser.parse_args()
    outcomes, failures = [], 0
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
            outcomes.append(outcome)
    text = table([*outcomes, ELSEWHERE])
    print(text)
    if given.write and not failures:
        _write(text)
    return 1 if failures else 0


def _write(text: str) -> None:
    pattern = re.compile(f"{MARKS[0]}.*?{MARKS[1]}", re.DOTALL)
    filled = f"{MARKS[0]}\n{text}\n{MARKS[1]}"
    DOCUMENT.write_text(pattern.sub(lambda _: filled, DOCUMENT.read_text()))


if __name__ == "__main__":
    raise SystemExit(main())
