"""Serving: requests per second and their times over real sockets, beside a plain service.

Ours, the plain FastAPI and DGL service (as shipped, and tuned) and an empty FastAPI handler are
processes that take turns at the same requests; one process of its own sends them. What takes no
turns (an even load for minutes, three times too much, a second worker) is ours alone.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from service.bench.load import LoadJob, Phase
from service.bench.machine import machine
from service.bench.race import row
from service.bench.served import Loader, Server, empty_server, our_server, plain_server
from service.bench.served_world import ServedWorld, make_served_world
from service.console import note
from service.settings import CORES

__all__ = ["ServePlan", "measure"]

WARMUP_S = 1.0
MANY_CONNECTIONS = 4
WARM_IDS = 2000
OVERLOAD = 3
OVERLOAD_CONNECTIONS = 256
DELAY_MS = 5.0
"""`GNN_MAX_DELAY_MS` of the server that gets three times too much."""
MB = 1e6


@dataclass(frozen=True, slots=True)
class ServePlan:
    """What is asked of `gnn bench serve`.

    Attributes:
        num_nodes: of the graph.
        num_edges: of the graph.
        fanouts: of the model.
        many_ids: of the large requests.
        width: of features and hidden rows.
        connections: of the closed loads.
        seconds: of the even load; a turn takes a thirtieth, from 1 to 10 seconds.
        rounds: turns of each contender; the median counts.
        workers: of our server.
        threads: that make the world and compute.
        seed: what randomness follows from.
        keep: where the world is kept for the next time; None throws it away.
        with_peers: measure the plain services and the empty handler.
    """

    num_nodes: int
    num_edges: int
    fanouts: list[int]
    many_ids: int = 1000
    width: int = 128
    connections: int = 16
    seconds: float = 300.0
    rounds: int = 3
    workers: int = 1
    threads: int = 1
    seed: int = 0
    keep: Path | None = None
    with_peers: bool = True

    @property
    def turn_s(self) -> float:
        """Length of one turn."""
        return min(max(self.seconds / 30, 1.0), 10.0)


def measure(plan: ServePlan) -> dict[str, Any]:
    """Rates and times of ours and of peers, as `gnn bench serve --json` prints it."""
    with ExitStack() as stack:
        folder = plan.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        world = make_served_world(folder, plan.num_nodes, plan.num_edges, plan.fanouts,
                                  plan.width, plan.threads, plan.seed)  # fmt: skip
        loader = stack.enter_context(Loader())
        bench = _Bench(plan, world, loader)
        rows = [*bench.races(), *bench.even_load(), *bench.overload(), *bench.second_worker()]
    return {"machine": machine(), "rows": rows}


@dataclass(slots=True)
class _Turns:
    """What came of the turns of one contender."""

    reports: list[dict[str, Any]] = field(default_factory=list)

    def rate(self) -> float:
        return float(statistics.median(report["rate"] for report in self.reports))

    def p99(self) -> float:
        return float(statistics.median(report["ms"]["p99"] for report in self.reports))


class _Bench:
    def __init__(self, plan: ServePlan, world: ServedWorld, loader: Loader) -> None:
        self.plan, self.world, self.loader = plan, world, loader
        self.given: dict[str, Any] = {"workers": plan.workers, "compute_threads": 1}
        self.most = 0.0

    def races(self) -> Iterator[dict[str, Any]]:
        """What ours and the peers can all do."""
        plan, world = self.plan, self.world
        sampled: dict[str, Any] = {"body": {"mode": "sampled"}, "num_nodes": plan.num_nodes}
        one = {"connections": plan.connections, **sampled}
        many = {"connections": MANY_CONNECTIONS, "ids": plan.many_ids, **sampled}
        with ExitStack() as stack:
            peers = self._peers(stack)
            ours = stack.enter_context(our_server(world, cache_bytes=0, **self.given))
            words = f"predict {{ids}}, sampled {','.join(map(str, plan.fanouts))}, nothing cached"
            turns = self._race({"ours": ours, **peers}, one)
            self.most = turns["ours"].rate()
            yield from self._rows(words.format(ids="1 id"), turns, plan.connections)
            heavy = {name: each for name, each in peers.items() if name != "empty handler"}
            each_core = {**self.given, "workers": CORES, "cache_bytes": 0}  # as peers use all cores
            heavy["ours"] = stack.enter_context(our_server(world, **each_core))
            turns = self._race(heavy, many)
            yield from self._rows(words.format(ids=f"{plan.many_ids} ids"), turns, MANY_CONNECTIONS)
        yield from self._race_with_empty("from the table", {"embeddings": world.embeddings},
                                         {**one, "body": {"mode": "table"}})  # fmt: skip
        yield from self._race_with_empty("from a warm cache", {}, {**one, "num_nodes": WARM_IDS})

    def even_load(self) -> Iterator[dict[str, Any]]:
        """Half of the most for long; the empty handler for a while, for what the machine adds."""
        plan, half = self.plan, self.most / 2
        note(f"an even load of {half:,.0f} requests/s for {plan.seconds:,.0f} s")
        job = self._load([Phase(WARMUP_S, half), Phase(plan.seconds, half)], plan.connections * 4)
        with our_server(self.world, cache_bytes=0, **self.given) as server:
            self.loader.start(replace(job, port=server.port))
            time.sleep(WARMUP_S + min(60.0, plan.seconds / 5))
            early = server.private_bytes()
            even = self.loader.reports()[1]
            grown = server.private_bytes() - early
        ms = {"ours": even["ms"]["p99"]}
        if plan.with_peers:
            short = replace(job, phases=[Phase(WARMUP_S, half), Phase(plan.turn_s, half)])
            with empty_server(self.world) as server:
                empty = self.loader.send(replace(short, port=server.port))[1]
            ms["empty handler"] = empty["ms"]["p99"]
        words = f"even load of half the most, {plan.seconds:,.0f} s: p99"
        yield {**_time_row(words, ms), **_counts(even), "grown_mb": grown / MB}

    def overload(self) -> Iterator[dict[str, Any]]:
        """Three times the most, with half of it before and after."""
        plan, half = self.plan, self.most / 2
        note(f"{OVERLOAD} times the most")
        rates = half, OVERLOAD * self.most, half
        job = self._load([Phase(plan.turn_s, rate) for rate in rates], OVERLOAD_CONNECTIONS)
        given = {"cache_bytes": 0, "max_delay_ms": DELAY_MS, **self.given}
        with our_server(self.world, **given) as server:
            before, during, after = self.loader.send(replace(job, port=server.port))
        words = f"{OVERLOAD} times the most:"
        if during["refused"]:
            refused = during["refused_ms"]
            yield _own(f"{words} median of refusals", "ms", refused["p50"], during, **refused)
        yield _own(f"{words} p99 of what is answered", "ms", during["ms"]["p99"], during,
                   at_half_ms=before["ms"]["p99"])  # fmt: skip
        yield _own(f"{words} until all is well again", "s", after["recovered_s"], after)

    def _load(self, phases: list[Phase], connections: int) -> LoadJob:
        """Single ids, sampled; the port is still to come."""
        body = {"mode": "sampled"}
        return LoadJob(0, phases, connections, body=body, num_nodes=self.plan.num_nodes)

    def second_worker(self) -> Iterator[dict[str, Any]]:
        """What one worker more takes."""
        found = []
        for workers in (2, 3):
            given = {**self.given, "workers": workers, "embeddings": self.world.embeddings}
            with our_server(self.world, **given) as server:
                found.append((server.own_bytes(), server.ready_s))
        (fewer, _), (more, ready_s) = found
        yield _own("one worker more: memory", "MB", (more - fewer) / MB, {})
        yield _own("3 workers: ready after", "s", ready_s, {})

    def _peers(self, stack: ExitStack) -> dict[str, Server]:
        if not self.plan.with_peers:
            return {}
        opened = {
            "plain": plain_server(self.world, tuned=False),
            "plain tuned": plain_server(self.world, tuned=True),
            "empty handler": empty_server(self.world),
        }
        return {name: stack.enter_context(server) for name, server in opened.items()}

    def _race_with_empty(
        self, words: str, settings: Mapping[str, Any], job: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        with ExitStack() as stack:
            servers = {"ours": stack.enter_context(our_server(self.world, **settings,
                                                              **self.given))}  # fmt: skip
            if self.plan.with_peers:
                servers["empty handler"] = stack.enter_context(empty_server(self.world))
            self._warm(servers["ours"], job)
            turns = self._race(servers, job)
        yield from self._rows(f"predict 1 id {words}", turns, self.plan.connections)

    def _warm(self, server: Server, job: Mapping[str, Any]) -> None:
        """Ask once for every id that will be asked for, where they are few."""
        if job["num_nodes"] <= WARM_IDS:
            phases = [Phase(2 * WARMUP_S)]
            ids = {**job, "ids": 100, "connections": 2}
            self.loader.send(LoadJob(server.port, phases, **ids))

    def _race(self, servers: Mapping[str, Server], job: Mapping[str, Any]) -> dict[str, _Turns]:
        note(f"{self.plan.rounds} rounds of {self.plan.turn_s:.0f} s for {', '.join(servers)}")
        turns = {name: _Turns() for name in servers}
        for number in range(self.plan.rounds):
            for name, server in servers.items():
                before = server.cpu_s()
                given = {**job, "seed": self.plan.seed + number}
                phases = [Phase(WARMUP_S), Phase(self.plan.turn_s)]
                warm, report = self.loader.send(LoadJob(server.port, phases, **given))
                asked = max(1, warm["requests"] + report["requests"])
                report["cpu_us"] = (server.cpu_s() - before) / asked * 1e6
                turns[name].reports.append(report)
        return turns

    def _rows(
        self, words: str, turns: Mapping[str, _Turns], connections: int
    ) -> Iterator[dict[str, Any]]:
        plan = self.plan
        words = (f"{words}, {connections} connections; R-MAT {plan.num_nodes} nodes "
                 f"{plan.num_edges} edges")  # fmt: skip
        mid = {name: statistics.median(r["cpu_us"] for r in each.reports)
               for name, each in turns.items()}  # fmt: skip
        failed = {name: sum(r["failed"] + r["refused"] for r in each.reports)
                  for name, each in turns.items()}  # fmt: skip
        busy = max(report["busy"] for each in turns.values() for report in each.reports)
        rates = {name: each.rate() for name, each in turns.items()}
        yield row(words, "requests/s", rates, server_cpu_us=mid, failed=failed, load_busy=busy)
        yield _time_row(f"{words}, p99", {name: each.p99() for name, each in turns.items()})


def _time_row(work: str, ms: Mapping[str, float]) -> dict[str, Any]:
    """A row of times: above 1, ours is shorter."""
    peers = {name: {"value": value, "ratio": value / ms["ours"]}
             for name, value in ms.items() if name != "ours"}  # fmt: skip
    return {"work": work, "unit": "ms", "ours": ms["ours"], "peers": peers}


def _own(
    work: str, unit: str, value: float, report: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """A row without peers."""
    return {"work": work, "unit": unit, "ours": value, "peers": {}, **_counts(report), **more}


def _counts(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("rate", "failed", "refused", "busy") if key in report}
