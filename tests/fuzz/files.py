"""`python -m fuzz.files KIND ORIGINAL SCRATCH FIRST COUNT MODE`: damages a directory, many times.

Run in a process of its own, since a crash is what is looked for: each case is said before it is
tried, so that the last line of a process that died is the case that killed it.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from fuzz.mutate import damage, restore, same
from fuzz.victims import FORGER_ERRORS, VICTIMS, Victim

from sampling.errors import GnnError

CASE_S = 60.0


def run(kind: str, original: Path, scratch: Path, cases: range, mode: str) -> Counter[str]:
    """Damage and open, once per case; counts what came of it.

    Args:
        kind: of `VICTIMS`.
        original: the directory as it is right.
        scratch: a place for the damaged one.
        cases: numbers of the cases; each seeds its own damage.
        mode: "checked", or "forged" with checksums put right again.
    """
    victim, found = VICTIMS[kind], Counter[str]()
    restore(scratch, original)
    right = victim.open(scratch)
    for number in cases:
        rng = np.random.default_rng(number)
        restore(scratch, original)
        what = damage(scratch, rng)
        if mode == "forged" and not _forged(victim, scratch):
            found["nothing to forge"] += 1
            continue
        print(f"case {number}: {what}", flush=True)
        faulthandler.dump_traceback_later(CASE_S, exit=True)
        outcome = "unchanged" if same(scratch, original) else _try(victim, scratch, right, mode)
        faulthandler.cancel_dump_traceback_later()
        found[outcome] += 1
    return found


def _forged(victim: Victim, scratch: Path) -> bool:
    try:
        assert victim.sign is not None
        victim.sign(scratch)
    except FORGER_ERRORS:
        return False
    return True


def _try(victim: Victim, scratch: Path, right: object, mode: str) -> str:
    try:
        opened = victim.open(scratch)
    except GnnError:
        return "refused"
    if mode == "checked" and victim.sign is not None and not victim.is_equal(opened, right):
        return "ACCEPTED"
    try:
        victim.use(opened)
    except (GnnError, RuntimeError, IndexError):
        return "refused in use"
    return "accepted"


if __name__ == "__main__":
    name, source, place, first, count, how = sys.argv[1:]
    numbers = range(int(first), int(first) + int(count))
    print(json.dumps(run(name, Path(source), Path(place), numbers, how)))
