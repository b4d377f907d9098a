"""Whether models answer: a prediction computed the way requests are, at most once a second.

One model is tested at a time, in turn, where the next request would be computed: before those that
wait, behind the batch at work. A thread that is stuck thus fails the test, and a full queue does
not. A model that fails is passed over until its turn comes again; while any other answers, the
server is ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import structlog

from gnn import SavedModel
from service.errors import problem_of
from service.graph_predictor import GraphPredictor
from service.microbatch import MicroBatcher
from service.plan import BatchKey
from service.predictor import Predictor
from service.registry import ServedModel

__all__ = ["SelfTest", "Tested"]

FRESH_S = 1.0
"""How long a result is repeated."""
QUICK_S = 0.2
"""How long whoever asks waits for a test; then the last result stands."""
STUCK_S = 5.0
"""How long a test may take until the server counts as not ready."""
FIRST_NODE = np.zeros(1, np.int64)

log = structlog.get_logger()

Probe = Callable[[], Coroutine[Any, Any, None]]
GraphProbe = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Tested:
    """What the last test found.

    Attributes:
        answers: whether a model answers.
        reason: why none does; names no model.
        failed: model → why it does not answer.
    """

    answers: bool
    reason: str = ""
    failed: dict[str, str] = field(default_factory=dict)


class SelfTest:
    """Tests the models that are served when it is asked.

    Args:
        predictor: models of nodes and links.
        batcher: what computes for them.
        of_graphs: models of whole graphs.
        probe_graphs: runs a test where those are computed.
    """

    def __init__(
        self,
        predictor: Predictor,
        batcher: MicroBatcher,
        of_graphs: GraphPredictor,
        probe_graphs: GraphProbe,
    ) -> None:
        self.predictor, self.batcher = predictor, batcher
        self.of_graphs, self.probe_graphs = of_graphs, probe_graphs
        self._turn, self._failed = 0, dict[str, str]()
        self._tested = Tested(answers=True)  # the server does not start where a test fails
        self._began = self._ended = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    async def result(self) -> Tested:
        """What a test finds now, or found last where it takes longer than a moment."""
        now = time.monotonic()
        if self._task is None:
            if now - self._ended < FRESH_S:
                return self._tested
            self._began = now
            self._task = asyncio.create_task(self._test(), name="self-test")
        waited_s = now - self._began
        if waited_s < STUCK_S:
            await asyncio.wait([self._task], timeout=QUICK_S)
            return self._tested
        return Tested(
            answers=False,
            reason=f"a test prediction has waited for {waited_s:.1f} s: what computes is stuck, or "
            "takes too long for a batch",
        )

    async def close(self) -> None:
        """Give up a test that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _test(self) -> None:
        try:
            self._tested = await self._tested_now()
        except Exception as error:
            log.error("self_test_broken", exc_info=error)
            self._tested = Tested(answers=False, reason="the self-test failed; the log says why")
        finally:
            self._ended, self._task = time.monotonic(), None

    async def _tested_now(self) -> Tested:
        probes = self._probes()
        self._failed = {name: why for name, why in self._failed.items() if name in probes}
        names = list(probes)
        for place in range(len(names)):
            name = names[(self._turn + place) % len(names)]
            try:
                await probes[name]()
            except Exception as error:
                self._fail(name, error)
                continue
            self._failed.pop(name, None)
            self._turn += place + 1
            return Tested(answers=True, failed=dict(self._failed))
        reason = "no model answers a test prediction" if names else "no model is loaded"
        return Tested(answers=False, reason=reason, failed=dict(self._failed))

    def _fail(self, name: str, error: Exception) -> None:
        problem = problem_of(error)
        why = str(error) if problem.public else problem.title  # which tells of no paths
        if self._failed.get(name) != why:
            log.error("self_test_failed", model=name, exc_info=error)
        self._failed[name] = why

    def _probes(self) -> dict[str, Probe]:
        """How to test every model that answers, by its name."""
        registry, models = self.predictor.registry, self.of_graphs.models
        probes = {n: self._of_nodes(m) for n in registry.names if (m := registry.opened(n))}
        probes |= {n: self._of_graphs(g) for n in models.names if (g := models.opened(n))}
        return probes

    def _of_nodes(self, model: ServedModel) -> Probe:
        async def probe() -> None:
            if self.predictor.data.graph.num_nodes:
                await self.batcher.probe(BatchKey(model, "sampled", 0), FIRST_NODE)

        return probe

    def _of_graphs(self, saved: SavedModel) -> Probe:
        async def probe() -> None:
            await self.probe_graphs(lambda: self.of_graphs.test(saved))

        return probe
