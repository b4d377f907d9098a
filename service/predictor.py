"""The synchronous core: from node ids to answers. REST, command line and tests share it.

A query becomes a Plan, which knows what the table and the cache answer at once and which nodes
are left to compute; `compute` turns those into rows; `answer` turns rows into what a user reads.
The service puts its queue between the first step and the second, `predict` does not.

Which neighbors are read for a node depends on the query's mode and seed, the node and the graph,
never on the company it is asked in: so a node gets the same answer alone and in a batch, from
the table, the cache or the model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn import EmbeddingTable
from gnn.data import Data, open_data
from gnn.sparse import stacked
from gnn.tasks import WITHOUT_OUTPUTS
from sampling import Block, Dataset, FeatureTable, Graph
from sampling.errors import UnknownNodeError
from service.answers import entries_of
from service.cache import EmbeddingCache, MemoryCache, space_of
from service.cost import are_soon_counted, exact_costs, sampled_costs
from service.described import (
    Described,
    NodeDescription,
    check_describable,
    describe,
    described_blocks,
)
from service.errors import (
    LimitError,
    NewNodeError,
    NonFiniteError,
    NoTableError,
    NotCalibratedError,
    OverlayError,
    WrongTaskError,
)
from service.hidden import HiddenCache
from service.layered import Layered, layered
from service.microbatch import Computed
from service.overlay import EdgeEdits, overlay_blocks, overlay_of
from service.plan import CACHE, TABLE, BatchKey, Id, Mode, Plan, Query, Work
from service.registry import ModelRegistry, ServedModel
from service.routing_file import routing_of
from service.settings import Settings

__all__ = ["Answer", "Predictor", "open_predictor"]
MAX_NAMED = 100
ZERO = np.zeros(1, np.int64)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a user reads, under the names of the REST answer."""

    model: str
    model_version: int
    graph_version: int
    predictions: list[dict[str, Any]]


class Predictor:
    """Answers queries about one graph.

    Args:
        data: the graph, with features.
        registry: its models.
        cache: computed embeddings.
        settings: budgets and limits.
    """

    def __init__(
        self, data: Dataset, registry: ModelRegistry, cache: EmbeddingCache, settings: Settings
    ) -> None:
        self.data, self.registry, self.cache, self.settings = data, registry, cache, settings
        self.hidden = HiddenCache(settings.hidden_cache_bytes)
        # by whether neighbors are drawn; gone with the model that leaves
        self._layers: WeakKeyDictionary[ServedModel, dict[bool, Layered | None]] = (
            WeakKeyDictionary()
        )

    def predict(
        self,
        ids: Sequence[Id],
        model: str = "default",
        version: int | None = None,
        mode: Mode = "auto",
        include: Sequence[str] = ("label", "probabilities"),
        seed: int = 0,
        on_unknown: Literal["error", "report"] = "error",
        new_nodes: Sequence[NodeDescription] = (),
        overlay: EdgeEdits | None = None,
    ) -> Answer:
        """Predictions for these ids, in order, described nodes last.

        Raises:
            UnknownNodeError: ids are not in the graph and `on_unknown` is "error".
            ServiceError: no such model, no fresh table, or a limit is exceeded.
        """
        query = Query(ids, model, version, mode, include, seed, on_unknown, new_nodes, overlay)
        return self.answer(self.finished(query, self.registry.get(model, version)))

    def finished(self, query: Query, model: ServedModel) -> Plan:
        """The plan of a query with no work left, all computed here and now.

        Raises:
            UnknownNodeError, ServiceError: as `predict`.
        """
        plan = self.plan(query, model)
        for work in plan.work:
            plan.finish(work, self._compute_all(work))
        return plan

    def plans_soon(self, query: Query, model: ServedModel) -> bool:
        """Whether the plan of a query with few ids takes no longer than an event loop may."""
        if query.is_dear_to_plan:
            return False
        has_table = model.table is not None and query.mode == "auto"
        if has_table or query.mode in ("table", "sampled"):
            return True
        dense = self.data.ids.find(list(query.nodes))
        limit = self._exact_limit(query.mode)
        return are_soon_counted(self.data.graph, dense[dense >= 0], model.num_layers, limit)

    def plan(self, query: Query, model: ServedModel) -> Plan:
        """What answers at once, and what is left to compute.

        Raises:
            UnknownNodeError, ServiceError: as `predict`.
        """
        if "prediction_set" in query.include and model.saved.info.calibration is None:
            raise NotCalibratedError(model.name, model.version)
        task = model.saved.info.task
        if task in WITHOUT_OUTPUTS and {"label", "probabilities"} & set(query.include):
            raise WrongTaskError(model.name, task, "labels or values of nodes")
        new_ids = {node.id for node in query.new_nodes}
        ids = list(query.nodes)
        dense = self.data.ids.find(ids)
        if (dense < 0).any() and query.on_unknown == "error":
            _refuse_unknown(ids, dense, new_ids)
        if query.new_nodes:
            named = set(ids)
            ids += [node.id for node in query.new_nodes if node.id not in named]
        plan = Plan(query, model, ids, np.zeros(len(ids), np.uint8), np.zeros(len(ids), np.bool_))
        if query.overlay is not None:
            self._plan_overlay(plan, dense, query.overlay)
            return plan
        self._plan_known(plan, dense)
        if query.new_nodes:
            self._plan_new(plan)
        return plan

    def compute(self, key: BatchKey, nodes: NDArray[np.int64]) -> Computed:
        """Embeddings of distinct nodes, (len(nodes), d); kept in the cache.

        Raises:
            NonFiniteError: the model answered with NaN or infinity.
        """
        layers = self._layered(key) if key.is_cacheable else None
        if layers is None or not layers.pays(len(nodes)):
            computed = self._whole(key, nodes)
        else:
            fingerprint = self.data.meta.fingerprint
            computed = layers.compute(key.model, nodes, key.seed, self.hidden, fingerprint)
        rows = computed.rows
        if not np.isfinite(rows).all():
            raise NonFiniteError(key.model.name, key.model.version)
        # the head costs little beside a batch, and much where it is run for each request
        gives_none = key.model.saved.info.task in WITHOUT_OUTPUTS
        outputs = None if gives_none else key.model.outputs(rows)
        if key.is_cacheable:
            self.keep(key, nodes, rows, outputs)
        return replace(computed, outputs=outputs)

    def _whole(self, key: BatchKey, nodes: NDArray[np.int64]) -> Computed:
        """All hops, then all layers."""
        started = time.perf_counter()
        blocks, head, inputs = self._sample(key, nodes)
        sampled = time.perf_counter()
        x = self._gather(key.model.inputs, head, inputs)
        gathered = time.perf_counter()
        with torch.inference_mode():
            rows: NDArray[np.float32] = key.model.saved.model.encode(blocks, x).float().numpy()
        seconds = {
            "sample": sampled - started,
            "gather": gathered - sampled,
            "compute": time.perf_counter() - gathered,
        }
        frontier = (blocks[-1].num_dst, *(block.num_src for block in reversed(blocks)))
        return Computed(rows, seconds, frontier, sum(block.num_edges for block in blocks))

    def _layered(self, key: BatchKey) -> Layered | None:
        """The model layer by layer, where rows between layers are kept."""
        if not self.hidden.limit_bytes:
            return None
        known = self._layers.setdefault(key.model, {})
        if key.samples not in known:
            known[key.samples] = layered(key.model, self.data.graph, key.samples)
        return known[key.samples]

    def keep(
        self,
        key: BatchKey,
        nodes: NDArray[np.int64],
        rows: NDArray[np.float32],
        outputs: NDArray[np.float32] | None = None,
    ) -> None:
        """Put computed rows into the cache, with what the head makes of them where that is small.

        A record is a row and, behind it, the outputs: what is found there needs no head.
        """
        if _keeps_outputs(key.model):
            outputs = key.model.outputs(rows) if outputs is None else outputs
            rows = np.concatenate([rows, outputs], axis=1)
        self.cache.put_many(self.space(key), nodes.tolist(), rows)

    def answer(self, plan: Plan, *, as_arrays: bool = False) -> Answer:
        """The answer of a finished plan.

        Args:
            plan: with no work left.
            as_arrays: leave embeddings as arrays, for an encoder that takes them.
        """
        version = self.data.meta.version
        return Answer(plan.query.model, plan.model.version, version, entries_of(plan, as_arrays))

    def self_test(self) -> None:
        """Compute one prediction end to end, past table and cache.

        Raises:
            GnnError: it cannot be done.
        """
        for name in self.registry.names:
            model = self.registry.opened(name)
            if model is not None:
                self.test(model)

    def test(self, model: ServedModel) -> None:
        """Compute one prediction of a model end to end, past table and cache.

        Raises:
            GnnError: it cannot be done.
        """
        if self.data.graph.num_nodes:
            rows = self.compute(BatchKey(model, "sampled", 0), np.zeros(1, np.int64)).rows
            model.outputs(rows)

    def space(self, key: BatchKey) -> str:
        """All that rows under this key depend on beside the node: the caches' space."""
        digest, fingerprint = key.model.saved.info.digest, self.data.meta.fingerprint
        return space_of(digest, fingerprint, key.mode, key.seed)

    def _plan_known(self, plan: Plan, dense: NDArray[np.int64]) -> None:
        places = np.flatnonzero(dense >= 0)
        if len(places) == 0:
            return
        nodes, mode = dense[places], plan.query.mode
        table = plan.model.table
        if table is not None and mode in ("auto", "table"):
            _put_table(plan, table, places, nodes)
        elif mode == "table":
            raise NoTableError(plan.model.name, plan.model.version)
        else:
            samples, costs = self._choose(plan, nodes, [plan.ids[i] for i in places.tolist()])
            plan.samples[places] = samples
            for which in (False, True):
                chosen = samples == which
                if chosen.any():
                    self._plan_mode(plan, which, places[chosen], nodes[chosen], costs[chosen])

    def _choose(
        self, plan: Plan, nodes: NDArray[np.int64], ids: list[Id]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Whether each node is sampled, and the edges it will read: each by itself alone."""
        model, graph, mode = plan.model, self.data.graph, plan.query.mode
        self._check_reach(model, mode)
        cheap = sampled_costs(graph, nodes, model.saved.info.fanouts)
        if mode == "sampled":
            return np.ones(len(nodes), np.bool_), cheap
        limit = self._exact_limit(mode)
        costs = exact_costs(graph, nodes, model.num_layers, limit)
        dear = costs > limit
        if mode == "exact" and dear.any():
            _refuse_dear(limit, costs, ids)
        return dear, np.where(dear, cheap, costs + 1)

    def _check_reach(self, model: ServedModel, mode: Mode) -> None:
        """Refuse a model that looks too far, before any edge is counted.

        Raises:
            LimitError: it has too many layers, or too many neighbors in its outermost hop.
        """
        if model.num_layers > self.settings.max_hops:
            raise LimitError("hops of the model", self.settings.max_hops, model.num_layers)
        fanouts = model.saved.info.fanouts
        reach, limit = math.prod(fanouts), self.settings.max_fanout_product
        if mode in ("auto", "sampled") and min(fanouts, default=0) > 0 and reach > limit:
            raise LimitError("product of the model's fanouts", limit, reach)

    def _plan_mode(
        self,
        plan: Plan,
        samples: bool,
        places: NDArray[np.int64],
        nodes: NDArray[np.int64],
        costs: NDArray[np.int64],
    ) -> None:
        key = _key(plan, samples)
        rows = self.cache.get_many(self.space(key), nodes.tolist())
        hit = np.array([row is not None for row in rows])
        if hit.any():
            records = np.stack([row for row in rows if row is not None])
            width = key.model.saved.model.d_embedding
            plan.put(places[hit], records[:, :width], CACHE)
            if hit.all() and len(places) == len(plan.ids) and records.shape[1] > width:
                plan.outputs = records[:, width:]
        if not hit.all():
            missing, first, pick = _distinct(nodes[~hit])
            work = Work(key, missing, costs[~hit][first], places[~hit], pick)
            plan.work.append(work)

    def _plan_overlay(self, plan: Plan, dense: NDArray[np.int64], edits: EdgeEdits) -> None:
        """All is computed, from all neighbors: no table and no cache knows of these edges."""
        if plan.query.mode not in ("auto", "exact"):
            raise OverlayError(f"the mode is {plan.query.mode}; give it with auto or exact")
        if plan.query.new_nodes:
            raise OverlayError("there are new_nodes too; ask for them in a request of their own")
        if plan.model.saved.model.config.encoder == "typed":
            raise OverlayError("the model learned its input of every node of the graph, or reads "
                               "node types, which it cannot tell in edited neighborhoods; choose "
                               "another model")  # fmt: skip
        overlay = overlay_of(self.data, edits)
        places = np.flatnonzero(dense >= 0)
        if len(places) == 0:
            return
        nodes, first, pick = np.unique(dense[places], return_index=True, return_inverse=True)
        graph, limit = self.data.graph, self.settings.max_exact_edges
        layers = plan.model.num_layers
        # an added edge brings in what its source reads, once at most in every layer
        further = exact_costs(graph, overlay.sources, layers - 1, limit).sum()
        costs = exact_costs(graph, nodes, layers, limit) + layers * (further + len(overlay.added))
        if (costs > limit).any():
            _refuse_dear(limit, costs, [plan.ids[i] for i in places[first].tolist()])
        key = BatchKey(plan.model, "exact", None, overlay=overlay)
        plan.work.append(Work(key, nodes, costs + 1, places, pick))

    def _plan_new(self, plan: Plan) -> None:
        query = plan.query
        if query.mode == "table":
            raise NewNodeError(query.new_nodes[0].id, "is in no table; use mode auto")
        check_describable(plan.model.saved.model.config, query.new_nodes[0])
        described = describe(self.data, query.new_nodes, plan.model.saved.model.config.d_in)
        samples, costs = self._choose_new(plan, described)
        place = {node.id: i for i, node in enumerate(query.new_nodes)}
        places = np.array([i for i, key in enumerate(plan.ids) if key in place], np.int64)
        rows = np.array([place[plan.ids[i]] for i in places.tolist()], np.int64)
        plan.samples[places] = samples[rows]
        for which in (False, True):
            nodes, here = np.flatnonzero(samples == which), samples[rows] == which
            if len(nodes):
                key = BatchKey(plan.model, *_mode(plan, which), described)
                pick = np.searchsorted(nodes, rows[here])
                plan.work.append(Work(key, nodes, costs[nodes], places[here], pick))

    def _choose_new(
        self, plan: Plan, described: Described
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        model, graph, mode = plan.model, self.data.graph, plan.query.mode
        fanouts = model.saved.info.fanouts
        self._check_reach(model, mode)
        near = np.zeros(len(described.neighbors), np.int64)
        # of a described node all edges are read: what is drawn are neighbors of its neighbors
        draws = model.num_layers > 1
        if draws:
            near = sampled_costs(graph, described.neighbors, fanouts[:-1])
        cheap = described.costs(near, model.num_layers)
        if mode == "sampled":
            return np.full(len(cheap), draws), cheap
        limit = self._exact_limit(mode)
        near = exact_costs(graph, described.neighbors, model.num_layers - 1, limit)
        costs = described.costs(near, model.num_layers)
        dear = costs > limit
        if mode == "exact" and dear.any():
            _refuse_dear(limit, costs, [node.id for node in plan.query.new_nodes])
        return dear & draws, np.where(dear, cheap, costs)

    def _exact_limit(self, mode: Mode) -> int:
        settings = self.settings
        return settings.max_exact_edges if mode == "exact" else settings.exact_edge_budget

    def _compute_all(self, work: Work) -> Computed:
        """All nodes of a work, in pieces that keep to the batch limit."""
        batch = np.cumsum(work.costs) // self.settings.max_batch_cost_edges
        pieces = np.split(work.nodes, np.flatnonzero(np.diff(batch)) + 1)
        return Computed(np.concatenate([self.compute(work.key, piece).rows for piece in pieces]))

    def _sample(
        self, key: BatchKey, nodes: NDArray[np.int64]
    ) -> tuple[tuple[Block, ...], Tensor | None, Tensor]:
        """Blocks, input rows that are given, and the nodes whose features follow them."""
        model = key.model
        if key.described is not None:
            lower = model.lower_sampled if key.samples else model.lower_exact
            described = key.described.only(nodes)
            blocks, inputs = described_blocks(self.data, described, lower, key.seed)
            return blocks, described.x, inputs
        if key.overlay is not None:
            threads = self.settings.threads
            edited, inputs = overlay_blocks(
                self.data, key.overlay, nodes, model.num_layers, threads
            )
            return edited, None, inputs
        blocks = (model.sampled if key.samples else model.exact).sample(nodes, key.seed)
        return blocks, None, blocks[0].src_nodes

    def _gather(self, table: FeatureTable, head: Tensor | None, nodes: Tensor) -> Tensor:
        x = table.gather(nodes, self.settings.threads)
        return x if head is None else stacked(head, x)


def open_predictor(
    graph: Path,
    models: Path,
    embeddings: Path | None,
    settings: Settings,
    only: str | None = None,
) -> Predictor:
    """A predictor over directories, of all models or `only` one; the same answers as REST.

    Raises:
        GnnError: a directory is missing or damaged, or the default model does not fit.
    """
    torch.set_num_threads(settings.threads)
    data = _nodes_of(open_data(graph, verify=settings.verify_graph))
    table = None if embeddings is None else EmbeddingTable.open(embeddings, settings.verify_graph)
    registry = ModelRegistry(
        models,
        data,
        table,
        settings.default_model,
        settings.threads,
        settings.table_outputs_bytes,
        routing_of(settings),
        settings.allowed_modules,
        settings.require_certificate,
        only,
    )
    return Predictor(data, registry, MemoryCache(settings.cache_bytes), settings)


def _nodes_of(data: Data) -> Dataset:
    """The graph whose nodes are asked about: none where a collection of graphs is served."""
    if isinstance(data, Dataset):
        return data
    return Dataset.in_memory(Graph.from_edges([], [], num_nodes=0), name=data.meta.name)


def _keeps_outputs(model: ServedModel) -> bool:
    """Whether outputs lie behind the rows in the cache: where they take less than the rows."""
    has_some = model.saved.info.task not in WITHOUT_OUTPUTS
    return has_some and model.saved.model.config.d_out <= model.saved.model.d_embedding


def _distinct(nodes: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Distinct nodes, the first place of each, and which of them is at every place."""
    if len(nodes) == 1:
        return nodes, ZERO, ZERO
    return np.unique(nodes, return_index=True, return_inverse=True)


def _mode(plan: Plan, samples: bool) -> tuple[Literal["exact", "sampled"], int | None]:
    return ("sampled", plan.query.seed) if samples else ("exact", None)


def _key(plan: Plan, samples: bool) -> BatchKey:
    return BatchKey(plan.model, *_mode(plan, samples))


def _refuse_unknown(ids: Sequence[Id], dense: NDArray[np.int64], new_ids: set[Id]) -> None:
    unknown = [ids[i] for i in np.flatnonzero(dense < 0).tolist() if ids[i] not in new_ids]
    if unknown:
        raise UnknownNodeError(list(dict.fromkeys(unknown)))


def _refuse_dear(limit: int, costs: NDArray[np.int64], ids: list[Id]) -> None:
    named = [ids[i] for i in np.flatnonzero(costs > limit)[:MAX_NAMED].tolist()]
    what = "edges that one node reads in mode exact"
    raise LimitError(what, limit, int(costs.max()), {"nodes": named})


def _put_table(
    plan: Plan, table: EmbeddingTable, places: NDArray[np.int64], nodes: NDArray[np.int64]
) -> None:
    asked = plan.query.include
    if table.predictions is not None and "embedding" not in asked and len(places) == len(plan.ids):
        plan.outputs = np.asarray(table.predictions[nodes], np.float32)
        plan.source[places] = TABLE
    else:
        plan.put(places, table.rows(nodes), TABLE)
