"""Which systems take part, and the races between those that know a work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Protocol

from service.bench.array_peers import Scipy, Torch
from service.bench.dgl_peer import Dgl, import_dgl
from service.bench.ours import Ours
from service.bench.problem import Problem
from service.bench.pyg_peer import Pyg, TorchSparse, import_or_none
from service.bench.race import Contender, race, timed
from service.bench.remote import Remote
from service.console import note

__all__ = ["System", "best", "compete", "contenders", "open_systems"]

PACKAGES = {"torch-sparse": "torch_sparse", "pyg": "torch_geometric"}


class System(Protocol):
    """Something that knows some works, each a method of a round's number."""

    def use_threads(self, num_threads: int) -> None: ...


@contextmanager
def open_systems(
    problem: Problem, num_threads: int, tuned: bool, indices: tuple[str, ...] = ("int32",)
) -> Iterator[dict[str, System]]:
    """Ours and every peer that can be imported, by name; what is missing is said on stderr.

    Args:
        problem: what they work on.
        num_threads: the most threads that they will use.
        tuned: DGL with huge pages too, in a process of its own.
        indices: the types of node numbers that DGL as shipped is tried with.
    """
    systems: dict[str, System] = {"ours": Ours(problem), **_peers(problem, indices)}
    with ExitStack() as stack:
        if tuned and "dgl" in systems and problem.graph.num_edges < 2**31:
            systems["dgl tuned"] = stack.enter_context(Remote(problem, num_threads))
        yield systems


def _peers(problem: Problem, indices: tuple[str, ...]) -> dict[str, System]:
    peers: dict[str, System] = {"torch": Torch(problem), "scipy": Scipy(problem)}
    if import_dgl() is None:
        note("dgl cannot be imported here; measuring without it")
    else:
        names = {"dgl": indices[0]} | {f"dgl {index}": index for index in indices[1:]}
        peers |= {name: Dgl(problem, index) for name, index in names.items()}
    found = {name: import_or_none(package) is not None for name, package in PACKAGES.items()}
    for name in (name for name, is_there in found.items() if not is_there):
        note(f"{name} cannot be imported here; measuring without it")
    if found["torch-sparse"]:
        peers["torch-sparse"] = TorchSparse(problem)
        if found["pyg"]:
            peers["pyg"] = Pyg(problem)
    return peers


def contenders(
    systems: Mapping[str, System], problem: Problem, work: str, num_threads: int
) -> dict[str, Contender]:
    """Those that know a work, with this many threads."""
    for system in systems.values():
        system.use_threads(num_threads)
    known = {
        name: timed(getattr(system, work), partial(problem.units, work))
        for name, system in systems.items()
        if hasattr(system, work)
    }
    remote = {
        name: system.contender(work) for name, system in systems.items()
        if isinstance(system, Remote) and hasattr(Dgl, work)
    }  # fmt: skip
    return known | remote


def compete(
    systems: Mapping[str, System],
    problem: Problem,
    work: str,
    num_threads: int,
    rounds: int,
    warmup: int = 1,
) -> dict[str, float]:
    """Median units per second at a work, by name."""
    return best(race(contenders(systems, problem, work, num_threads), rounds, warmup))


def best(rates: Mapping[str, float]) -> dict[str, float]:
    """One rate for DGL as shipped: that of the better type of node numbers."""
    found: dict[str, float] = {}
    for name, rate in rates.items():
        merged = name.replace(" int64", "")
        found[merged] = max(rate, found.get(merged, 0.0))
    return found
