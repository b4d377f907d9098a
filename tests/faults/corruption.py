"""C1 to C3: files that are damaged, publishing that is cut short, steps in any order.

They are the tests of `tests/fuzz` with the counts of a full run.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from faults.outcome import Outcome, Target
from faults.worlds import World
from fuzz import test_crashstates as publishing
from fuzz.campaign import MODES, fuzz, originals
from fuzz.files import CASE_S
from fuzz.test_life import Life, LongLife, live
from world import make_world

__all__ = ["crash_states", "damage", "live_on"]

STEPS_A_RUN = 50
CASES, STEPS = 10_000, 200_000


def damage(world: World, folder: Path, count: int) -> Outcome:
    """C1: files of graph, model, table and jobs are damaged, with checksums put right and not."""
    (folder / "right").mkdir()
    right, found = originals(folder / "right"), Counter[str]()
    for number, (kind, mode) in enumerate(MODES):
        share = (count + number) // len(MODES)
        found += fuzz(right[kind], folder / f"{kind}-{mode}", kind, mode, max(share, 1))
    done = Outcome("C1", "every file of graph, model, table and job database damaged")
    done.wrong = found.pop("ACCEPTED", 0)
    ways = ", ".join(f"{n:,} {what}" for what, n in sorted(found.items()))
    done.note = f"{ways}; 0 crashes, 0 hangs over {CASE_S:.0f} s"
    tried = found.total() - found["nothing to forge"] - found["unchanged"]
    done.targets = [Target("damaged and opened", tried, CASES, at_least=True)]
    return done


def crash_states(world: World, folder: Path, count: int) -> Outcome:
    """C2: every prefix of a publish, with what was not synced kept, lost or torn."""
    small = make_world(folder / "world", num_edges=2000)
    places = [folder / name for name in ("replaced", "first", "version", "table")]
    for place in places:
        place.mkdir()
    publishing.test_a_graph_that_is_replaced_is_the_old_or_the_new(places[0])
    publishing.test_a_first_graph_is_whole_or_not_there(places[1])
    publishing.test_a_model_version_is_whole_or_not_there(small, places[2])
    publishing.test_a_published_table_is_the_old_or_the_new(small, places[3])
    states = sum(len(list((place / "states").iterdir())) for place in places)
    done = Outcome("C2", f"{states} states that a crash may leave of 4 publishes")
    done.note = "each is the old or the new one"
    return done


def live_on(world: World, folder: Path, count: int) -> Outcome:
    """C3: steps in any order, restarts among them, beside a plain dictionary."""
    Life.steps = Life.restarts = 0
    live(max(2, count // STEPS_A_RUN), STEPS_A_RUN, LongLife)
    done = Outcome("C3", "steps in any order against a plain dictionary")
    done.note = f"{Life.restarts:,} restarts among them, 0 differences"
    done.targets = [Target("steps", Life.steps, STEPS, at_least=True)]
    return done
