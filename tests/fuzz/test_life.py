"""The whole service against a plain dictionary: any order of steps, restarts among them.

The dictionary knows which versions of which models exist, which name stands for which, and whether
a table is published; right rows come from model and sampler alone. After every step the service
must agree. As in Qdrant's nightly test of operations against a model in memory.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import CLASSES, DIM, add_model

from gnn import GNN, embed, load_model
from sampling import Dataset, FullNeighborSampler, Graph, GraphStore, NeighborSampler, NodeIds
from sampling.graph.ingest import IngestConfig, ingest
from service.errors import ModelNotFoundError, NoTableError, UnknownNodeError, VersionNotFoundError
from service.jobs.folder import JobFolder
from service.jobs.job import new_job_id
from service.jobs.published import PublishedTables, publish_table
from service.predictor import open_predictor
from service.settings import Settings

NODES, FIRST = 40, 7
NAMES = st.sampled_from(["a", "b"])


class Life(RuleBasedStateMachine):
    """Steps that users take, and what must be true after each.

    Attributes:
        steps: taken by all of them so far, in this process.
        restarts: among them.
        drawn_per_restart: of so many restarts that are drawn one happens.
    """

    steps = restarts = 0
    drawn_per_restart = 1

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="life-"))
        self.models: dict[str, dict[int, GNN]] = {}
        self.published: dict[tuple[str, int], GNN] = {}
        self.seed = 0

    def teardown(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    @initialize(seed=st.integers(0, 99))
    def begin(self, seed: int) -> None:
        """A graph from files, and one model."""
        rng = np.random.default_rng(seed)
        src, dst = rng.integers(FIRST, FIRST + NODES, (2, 150))
        lines = "".join(f"{s},{d}\n" for s, d in zip(src, dst, strict=True))
        (self.root / "e.csv").write_text("src,dst\n" + lines)
        ids = "".join(f"{i},{CLASSES[i % 3]}\n" for i in range(FIRST, FIRST + NODES))
        (self.root / "n.csv").write_text("id,label\n" + ids)
        rows = rng.standard_normal((NODES, DIM)).astype(np.float32)
        np.save(self.root / "x.npy", rows)
        config = IngestConfig(
            edges=[self.root / "e.csv"], nodes=[self.root / "n.csv"],
            features=[self.root / "x.npy"], feature_rows="nodes", out=self.root / "graph",
        )  # fmt: skip
        for _ in ingest(config):
            pass
        self.data = GraphStore.open(self.root / "graph")
        graph = Graph.from_edges(src - FIRST, dst - FIRST, num_nodes=NODES)
        self.plain = Dataset.in_memory(graph, features=rows, ids=NodeIds.range(NODES, FIRST))
        self.train("a")
        self.start()

    @rule(name=NAMES)
    def train(self, name: str) -> None:
        """The next version of a model, with other weights."""
        self.seed += 1
        path = add_model(self.root / "models" / name, self.data, self.seed, fanouts=(3, 2))
        version = int(path.name)
        assert version == max(self.models.get(name, {0})) + 1
        self.models.setdefault(name, {})[version] = load_model(path).model

    @precondition(lambda self: sum(map(len, self.models.values())) > 1)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Remove a version; never the last of all, which a server does not start without."""
        name = data.draw(st.sampled_from(sorted(self.models)))
        version = data.draw(st.sampled_from(sorted(self.models[name])))
        if len(self.models[name]) == 1:
            return
        shutil.rmtree(self.root / "models" / name / str(version))
        del self.models[name][version]

    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        """Embed every node with the newest version, and serve the table."""
        name = data.draw(st.sampled_from(sorted(self.models)))
        folder = JobFolder(self.root / "jobs", new_job_id())
        folder.path.mkdir(parents=True)
        for _ in embed(load_model(self.root / "models" / name), self.data, folder.table):
            pass
        version = max(self.models[name])
        publish_table(folder, name, version)
        self.published[name, version] = self.models[name][version]

    @rule(number=st.integers(0, 999))
    def restart(self, number: int) -> None:
        """Every now and then."""
        if number % self.drawn_per_restart == 0:
            self.start()

    def start(self) -> None:
        """Another process: nothing is known but what is on disk."""
        Life.restarts += 1
        given = Settings(graph=self.root / "graph", models=self.root / "models",
                         default_model="a")  # fmt: skip
        self.predictor = open_predictor(given.graph, given.models, None, given)
        self.tables = PublishedTables(self.root / "jobs" / "published", self.predictor.registry)
        self.look()

    @rule()
    def look(self) -> None:
        """The running service notices what has changed."""
        self.predictor.registry.refresh(self.predictor.test)
        self.tables.look()
        self.known = {name: dict(versions) for name, versions in self.models.items()}
        self.fresh = {
            name for name, versions in self.known.items()
            if self.published.get((name, max(versions))) is newest(versions)
        }  # fmt: skip

    @rule(data=st.data(), mode=st.sampled_from(["exact", "sampled", "auto"]))
    def ask(self, data: st.DataObject, mode: str) -> None:
        """Rows of some nodes are those of the version that answers."""
        name = data.draw(st.sampled_from(["default", *sorted(self.known)]))
        nodes = data.draw(st.lists(st.integers(0, NODES - 1), min_size=1, max_size=6))
        seed = data.draw(st.integers(0, 3))
        answer = self.predictor.predict(
            [node + FIRST for node in nodes], model=name, mode=mode, seed=seed,
            include=["embedding"],
        )  # fmt: skip
        versions = self.known["a" if name == "default" else name]
        assert (answer.model, answer.model_version) == (name, max(versions))
        wanted = self.rows(newest(versions), nodes, mode, seed)
        got = np.array([entry["embedding"] for entry in answer.predictions])
        assert np.abs(got - wanted).max() < 1e-5

    @rule(data=st.data())
    def ask_table(self, data: st.DataObject) -> None:
        """A table answers where it is fresh, and only there."""
        name = data.draw(st.sampled_from(sorted(self.known)))
        node = data.draw(st.integers(0, NODES - 1))
        ask: dict[str, Any] = {"model": name, "mode": "table", "include": ["embedding"]}
        if name not in self.fresh:
            with pytest.raises(NoTableError):
                self.predictor.predict([node + FIRST], **ask)
            return
        [entry] = self.predictor.predict([node + FIRST], **ask).predictions
        wanted = self.rows(newest(self.known[name]), [node], "exact", 0)
        assert np.abs(np.array(entry["embedding"]) - wanted).max() < 1e-5

    @rule(node=st.integers(-3, FIRST + NODES + 3))
    def ask_nonsense(self, node: int) -> None:
        """What is not there is refused by name."""
        with pytest.raises(ModelNotFoundError):
            self.predictor.predict([FIRST], model="c")
        with pytest.raises(VersionNotFoundError):
            self.predictor.predict([FIRST], model="a", version=max(self.known["a"]) + 99)
        if not FIRST <= node < FIRST + NODES:
            with pytest.raises(UnknownNodeError):
                self.predictor.predict([node])

    @invariant()
    def the_disk_is_sound(self) -> None:
        """Nothing unfinished lies about."""
        Life.steps += 1
        hidden = [p for p in self.root.rglob(".*") if p.name != ".tables"]
        assert not hidden, hidden

    def rows(self, model: GNN, nodes: list[int], mode: str, seed: int) -> np.ndarray:
        """The right rows; `auto` reads all neighbors of so small a graph."""
        graph, x = self.plain.graph, self.plain.features
        assert x is not None
        wanted = torch.tensor(nodes)
        distinct, place = torch.unique(wanted, return_inverse=True)
        blocks = (
            NeighborSampler(graph, [3, 2]).sample(distinct, seed=seed)
            if mode == "sampled"
            else FullNeighborSampler(graph, 2).sample(distinct)
        )
        with torch.no_grad():
            return model.encode(blocks, x.gather(blocks[0].src_nodes)).numpy()[place]


class LongLife(Life):
    """The same with one restart in a thousand steps; one rule of eight draws them."""

    drawn_per_restart = 125


def newest(versions: dict[int, GNN]) -> GNN:
    return versions[max(versions)]


def live(runs: int, steps: int, kind: type[Life] = Life) -> None:
    chosen = settings(
        max_examples=runs, stateful_step_count=steps, deadline=None, database=None,
        derandomize=runs == 1, print_blob=True, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(kind, settings=chosen)


def test_fifty_steps_agree_with_a_dictionary():
    live(1, 50)


@pytest.mark.nightly
@pytest.mark.timeout(6 * 3600)
def test_many_steps_agree_with_a_dictionary():
    """As many as Qdrant takes, and as few restarts."""
    live(max(int(os.environ.get("GNN_FUZZ_CASES", "200000")) // 50, 2), 50, LongLife)
