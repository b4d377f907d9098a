"""All loads and faults with the counts that a full run gives them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from faults import corruption, disk, kills, loads, machine, redis_faults
from faults.outcome import Outcome
from faults.proxy import MODES
from faults.worlds import World

__all__ = ["FAULTS", "run_all"]

Fault = Callable[[World, Path, int], Outcome]

FAULTS: dict[str, tuple[Fault, int]] = {
    "L1 saturation": (loads.saturate, 10),
    "L2 steady load": (loads.steady, 1800),
    "L3 overload": (loads.overload, 600),
    "L4 connections held": (loads.held_connections, 600),
    "L7 connection storm": (loads.connection_storm, 10_000),
    "L8 sizes mixed": (loads.mixed_sizes, 60),
    "F1 worker killed": (kills.kill_a_worker, 20),
    "F2 service killed": (partial(kills.kill_the_service, publishes=10), 50),
    **{
        f"F3 Redis {name}": (partial(redis_faults.redis_fault, name=name), 3)
        for name in redis_faults.REDIS_FAULTS
    },
    "F3 Redis SIGSTOP": (redis_faults.freeze_redis, 30),
    "F3 jobs kept": (redis_faults.lose_no_jobs, 10),
    "F4 runner killed": (kills.kill_the_runner, 50),
    "F6 disk of jobs full": (disk.disk_full, 6),
    "F6 disk of log full": (disk.log_disk_full, 3),
    "F6 disk of metrics full": (disk.metrics_disk_full, 3),
    "F6 disk of data full": (disk.data_disk_full, 3),
    "F6 disk of Redis full": (disk.redis_disk_full, 3),
    "F7 commands on a failing disk": (disk.failing_disk, 20),
    "F7 service on a failing disk": (disk.failing_disk_of_service, 20),
    "F8 little memory": (machine.little_memory, 12),
    "F9 SIGTERM": (kills.leave, 20),
    "F9 rolling restart": (kills.roll, 5),
    "F10 event loop blocked": (machine.blocked_loop, 5),
    "F10 compute stuck": (machine.stuck_compute, 3),
    "F11 clock jumps": (machine.clock_jumps, 10),
    **{f"F12 network {mode}": (partial(redis_faults.bad_network, mode=mode), 3) for mode in MODES},
    "C1 files damaged": (corruption.damage, corruption.CASES),
    "C2 crash states": (corruption.crash_states, 1),
    "C3 steps in any order": (corruption.live_on, corruption.STEPS),
}
"""Name to what does it, and how often a full run does, or for how many seconds (L, SIGSTOP)."""


def run_all(
    world: World, folder: Path, share: float, chosen: str = ""
) -> Iterator[tuple[str, Outcome, float, str]]:
    """Each fault's name and outcome, the seconds it took, and what was wrong with it if anything.

    Args:
        world: what is served.
        folder: for logs and jobs of each.
        share: of the full counts; at least one of each.
        chosen: the first words of the names of those to run; "" is all.
    """
    for name, (fault, full) in FAULTS.items():
        if chosen and not f"{name} ".startswith(f"{chosen} "):
            continue
        place = folder / name.replace(" ", "-").replace("`", "")
        place.mkdir()
        began, outcome, wrong = time.monotonic(), Outcome(name.split()[0], name), ""
        try:
            outcome = fault(world, place, max(1, round(full * share)))
            if not outcome.not_run:
                outcome.check()
        except Exception as error:  # the rest is run all the same
            wrong = f"{type(error).__name__}: {error}"
        yield name, outcome, time.monotonic() - began, wrong
