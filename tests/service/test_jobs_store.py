"""Both stores keep the same promises: one suite, a file and a real Redis."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sampling.errors import InputError
from service.errors import JobNotFoundError, JobStoreError, TooManyJobsError
from service.jobs.job import Failure, Job, JobSpec, Part, Progress, Result, new_job_id
from service.jobs.queue import JobQueue
from service.jobs.redis_store import RedisStore
from service.jobs.sqlite_store import SqliteStore
from service.jobs.store import JobStore, open_store

sys.path.insert(0, str(Path(__file__).parent))
from redisserver import redis_server

GRAPH, OTHER = "graph-a", "graph-b"
Opener = Callable[[], JobStore]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same empty store again and again, as processes do."""
    stores: list[JobStore] = []
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    prefix = new_job_id()

    def again() -> JobStore:
        stores.append(RedisStore(url, prefix) if url else SqliteStore(tmp_path / "d/jobs.sqlite"))
        return stores[-1]

    yield again
    for store in stores:
        store.close()


def job(graph: str = GRAPH) -> Job:
    spec = JobSpec(
        kind="embed", model="default", version=1, model_digest="d", graph=graph, graph_version=1,
        num_nodes=7, every_node=True, include=("embedding",),
    )  # fmt: skip
    return Job(id=new_job_id(), spec=spec, created=12.5)


def result(rows: int = 7) -> Result:
    part = Part(name="part-00000.parquet", rows=rows, size_bytes=9, sha256="ab")
    return Result(rows=rows, size_bytes=9, sha256="ab", parts=(part,))


def test_what_is_written_is_read_by_everyone(opened: Opener):
    one, two = opened(), opened()
    written = job()
    one.insert(written, 5)
    assert two.get(written.id) == written
    assert two.listed(["queued"], 10) == [written]
    assert two.counts() == {"queued": 1}
    two.remove(written.id)
    assert one.get(written.id) is None
    assert one.counts() == {}


def test_a_store_that_holds_nothing_answers(opened: Opener):
    store = opened()
    assert (store.get(new_job_id()), store.listed(["queued"], 5)) == (None, [])
    assert (store.counts(), store.totals()) == ({}, {})
    assert store.update(new_job_id(), lambda row, now: row) is None
    store.remove(new_job_id())
    assert not JobQueue(store).has_work(GRAPH)


def test_rows_are_listed_in_the_order_they_came_whatever_became_of_them(opened: Opener):
    store = opened()
    queue = JobQueue(store)
    ids = []
    for _ in range(6):
        ids.append(new_job_id())
        store.insert(job().model_copy(update={"id": ids[-1]}), 10)
    queue.cancel(ids[2])
    taken, owner = queue.claim(GRAPH)
    queue.finish(taken.id, owner, "done", result())
    states = ["queued", "running", "done", "canceled"]
    assert [row.id for row in store.listed(states, 10)] == ids
    assert [row.id for row in store.listed(states, 4, newest_first=True)] == ids[:1:-1]
    assert store.counts() == {"queued": 4, "done": 1, "canceled": 1}


def test_a_full_queue_takes_no_more(opened: Opener):
    store = opened()
    store.insert(job(), 2)
    store.insert(job(), 2)
    with pytest.raises(TooManyJobsError) as caught:
        store.insert(job(), 2)
    assert (caught.value.waiting, caught.value.limit) == (2, 2)
    assert store.counts() == {"queued": 2}


def test_jobs_are_claimed_once_each_by_many_at_once_oldest_first(opened: Opener):
    store = opened()
    ids = [new_job_id() for _ in range(24)]
    for name in ids:
        store.insert(job().model_copy(update={"id": name}), 100)
    barrier = threading.Barrier(6)

    def take_all() -> list[str]:
        queue, mine = JobQueue(opened()), []
        barrier.wait()
        while (claimed := queue.claim(GRAPH)) is not None:
            mine.append(claimed[0].id)
        return mine

    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(lambda _: take_all(), range(6)))
    assert sorted(name for mine in taken for name in mine) == sorted(ids)
    assert all(mine == sorted(mine, key=ids.index) for mine in taken)


def test_many_insert_at_once_and_none_too_many(opened: Opener):
    def put(_: int) -> bool:
        try:
            opened().insert(job(), 10)
        except TooManyJobsError:
            return False
        return True

    opened().insert(job(), 10)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(put, range(24))) == 9
    assert opened().counts() == {"queued": 10}


def test_a_job_of_another_graph_is_left_alone(opened: Opener):
    queue = JobQueue(opened())
    queue.store.insert(job(OTHER), 5)
    assert queue.claim(GRAPH) is None
    assert not queue.has_work(GRAPH)
    assert queue.has_work(OTHER)


def test_a_lease_that_expired_is_taken_up_and_its_owner_can_do_nothing_more(opened: Opener):
    dying, living = JobQueue(opened(), lease_s=0), JobQueue(opened(), lease_s=60)
    dying.store.insert(job(), 5)
    first, lost = dying.claim(GRAPH)
    assert dying.beat(first.id, lost, Progress(stage="rows", rows_done=3, num_rows=7)) is not None
    second, owner = living.claim(GRAPH)
    assert (second.id, second.attempts, second.progress.rows_done) == (first.id, 2, 3)
    assert living.claim(GRAPH) is None
    assert dying.beat(first.id, lost, None) is None
    assert dying.release(first.id, lost) is None
    assert dying.finish(first.id, lost, "done", result()) is None
    assert living.beat(first.id, owner, None).state == "running"
    assert living.finish(first.id, owner, "done", result()).result == result()
    assert living.claim(GRAPH) is None


def test_a_job_that_kills_its_runners_is_given_up(opened: Opener):
    queue = JobQueue(opened(), lease_s=0, max_attempts=2)
    queue.store.insert(job(), 5)
    for _ in range(2):
        taken, _owner = queue.claim(GRAPH)
    assert queue.claim(GRAPH) is None
    gone = queue.get(taken.id)
    assert (gone.state, gone.error.code) == ("failed", "job_lost")


def test_giving_back_is_no_attempt(opened: Opener):
    queue = JobQueue(opened(), max_attempts=1)
    queue.store.insert(job(), 5)
    for _ in range(4):
        taken, owner = queue.claim(GRAPH)
        assert queue.release(taken.id, owner).state == "queued"
    assert queue.get(taken.id).attempts == 0


def test_canceling(opened: Opener):
    queue = JobQueue(opened(), lease_s=60)
    for _ in range(2):
        queue.store.insert(job(), 5)
    running, owner = queue.claim(GRAPH)
    [waiting] = queue.store.listed(["queued"], 5)
    assert queue.cancel(waiting.id).state == "canceled"
    asked = queue.cancel(running.id)
    assert (asked.state, asked.cancels) == ("running", True)
    assert queue.beat(running.id, owner, None).cancels
    done = queue.finish(running.id, owner, "canceled")
    assert queue.cancel(running.id) == done
    with pytest.raises(JobNotFoundError):
        queue.cancel(new_job_id())


def test_a_canceled_job_whose_runner_died_is_closed_by_whoever_looks(opened: Opener):
    queue = JobQueue(opened(), lease_s=0)
    queue.store.insert(job(), 5)
    taken, _ = queue.claim(GRAPH)
    assert queue.cancel(taken.id).state == "canceled"


def test_totals_outlive_rows(opened: Opener):
    queue = JobQueue(opened())
    for rows in (7, 5):
        queue.store.insert(job(), 5)
        taken, owner = queue.claim(GRAPH)
        queue.finish(taken.id, owner, "done", result(rows))
        queue.store.remove(taken.id)
    queue.store.insert(job(), 5)
    taken, owner = queue.claim(GRAPH)
    queue.finish(taken.id, owner, "failed", error=Failure(code="x", detail="y"))
    totals = opened().totals()
    assert totals["rows.embed"] == 12
    assert (totals["jobs.embed.done"], totals["jobs.embed.failed"]) == (2, 1)


@pytest.mark.parametrize("text", ["", "x", "../../etc", "0" * 31, "0" * 33, "G" * 32, "é" * 32])
def test_what_is_no_id_is_never_looked_up(opened: Opener, text: str):
    with pytest.raises(JobNotFoundError):
        JobQueue(opened()).get(text)


def test_a_store_that_is_removed_begins_anew(tmp_path: Path):
    store = SqliteStore(tmp_path / "jobs.sqlite")
    store.insert(job(), 5)
    for path in tmp_path.iterdir():
        path.unlink()
    assert store.counts() == {}
    written = job()
    store.insert(written, 5)
    assert SqliteStore(store.path).listed(["queued"], 5) == [written]
    store.close()


def test_a_file_that_is_no_store_is_an_error_of_the_store(tmp_path: Path):
    (tmp_path / "jobs.sqlite").write_bytes(b"nonsense" * 1000)
    with pytest.raises(JobStoreError):
        SqliteStore(tmp_path / "jobs.sqlite").counts()


def test_a_row_that_is_no_job_is_an_error_of_the_store(tmp_path: Path):
    store = SqliteStore(tmp_path / "jobs.sqlite")
    written = job()
    store.insert(written, 5)
    store._connection.execute("UPDATE jobs SET row = '{\"id\": 7}'")
    with pytest.raises(JobStoreError, match="no job"):
        store.get(written.id)
    store.close()


def test_a_redis_that_is_not_there_is_an_error_of_the_store_and_soon(tmp_path: Path):
    store = open_store(tmp_path, "redis://127.0.0.1:1/0")
    with pytest.raises(JobStoreError):
        store.counts()
    with pytest.raises(InputError, match="Redis URL"):
        open_store(tmp_path, "nonsense://x")


class Machine(RuleBasedStateMachine):
    """Random work by two runners against a dict: states, owners and leases never disagree.

    A subclass has `make`, which opens the store.
    """

    store: JobStore
    make: Callable[[], JobStore]

    def __init__(self) -> None:
        super().__init__()
        self.store = self.make()
        self.state: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.dead: dict[str, str] = {}
        self.order: list[str] = []

    def queue(self, lease_s: float = 1000.0) -> JobQueue:
        return JobQueue(self.store, lease_s, max_attempts=100)

    @rule()
    def insert(self) -> None:
        row = job().model_copy(update={"id": f"{len(self.order):032x}"})
        if list(self.state.values()).count("queued") >= 4:
            with pytest.raises(TooManyJobsError):
                self.store.insert(row, 4)
            return
        self.store.insert(row, 4)
        self.state[row.id] = "queued"
        self.order.append(row.id)

    @rule(dies=st.booleans())
    def claim(self, dies: bool) -> None:
        free = [i for i in self.order if self.state[i] == "queued" or i in self.dead]
        got = self.queue(0.0 if dies else 1000.0).claim(GRAPH)
        if not free:
            assert got is None
            return
        taken, owner = got
        assert taken.id == free[0]
        self.state[taken.id] = "running"
        self.dead.pop(taken.id, None)
        (self.dead if dies else self.owners)[taken.id] = owner

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), how=st.sampled_from(["beat", "release", "done", "failed"]))
    def work(self, data: st.DataObject, how: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.owners)))
        owner, queue = self.owners[name], self.queue()
        if how == "beat":
            assert queue.beat(name, owner, None).state == "running"
            return
        done = queue.release(name, owner) if how == "release" else queue.finish(name, owner, how)
        self.state[name] = "queued" if how == "release" else how
        assert done.state == self.state[name]
        del self.owners[name]
        assert queue.beat(name, owner, None) is None

    @precondition(lambda self: self.state)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.state)))
        if name in self.owners:
            return
        self.queue().cancel(name)
        if self.state[name] in ("queued", "running"):
            self.state[name] = "canceled"
            self.dead.pop(name, None)

    @invariant()
    def rows_agree(self) -> None:
        every = ["queued", "running", "done", "failed", "canceled"]
        found = {row.id: row.state for row in self.store.listed(every, 1000)}
        assert found == self.state
        counts = self.store.counts()
        assert sum(counts.values()) == len(self.state)

    def teardown(self) -> None:
        self.store.close()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_random_work_by_many_agrees_with_a_dictionary(kind: str, tmp_path: Path, redis_url: str):
    class Concrete(Machine):
        def make(self) -> JobStore:
            if kind == "redis":
                return RedisStore(redis_url, new_job_id())
            return SqliteStore(tmp_path / f"{new_job_id()}.sqlite")

    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Concrete,
        settings=settings(max_examples=15, stateful_step_count=25, deadline=None, database=None),
    )
