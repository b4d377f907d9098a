"""Faults under load. All of them nightly, a tenth of a full run each; two small ones always."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from faults.client import Answer, NoAnswerError, StrictClient
from faults.load import Load, loading
from faults.oracle import Oracle, Question
from faults.outcome import Outcome
from faults.processes import service, wait_for
from faults.proxy import proxying
from faults.suite import FAULTS
from faults.worlds import World, every_model
from redisserver import redis_server
from world import running

SHARE = float(os.environ.get("GNN_FAULTS_SHARE", "0.1"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return every_model(tmp_path_factory.mktemp("faults"))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_makes_no_answer_wrong_and_loses_no_job(world: World, tmp_path: Path, name: str):
    fault, full = FAULTS[name]
    fault(world, tmp_path, max(1, round(full * SHARE))).check()


def port_of(client: httpx.Client) -> int:
    assert client.base_url.port
    return client.base_url.port


def test_garbage_from_the_network_to_redis_is_no_answer(world: World, tmp_path: Path):
    with redis_server(tmp_path) as redis, proxying(redis.port) as network:
        url = f"redis://127.0.0.1:{network.port}/0"
        settings = world.settings(redis_url=url, redis_retry_s=0.2, cache_bytes=0)
        with running(settings) as client, loading(port_of(client), Oracle(world)) as load:
            for mode in ("garbage", "half-close", "drop"):
                network.mode = mode
                wait_for(lambda: redis_is(client, "degraded"))
                load.answer_more(5)
                network.mode = ""
                wait_for(lambda: redis_is(client, "ok"))
                load.answer_more(5)
            load.end()
            Outcome("F12", "in small").count(load).check()


def redis_is(client: httpx.Client, wanted: str) -> bool:
    return client.get("/health/ready").json()["checks"]["redis"] == wanted


def test_a_request_that_is_on_its_way_when_the_server_leaves_is_answered(world: World):
    settings = world.settings(header_timeout_s=60.0, drain_timeout_s=60.0)
    with running(settings) as client, StrictSocket(port_of(client)) as connection:
        connection.sendall(b"GET /v1/graph HTTP/1.1\r\n")
        assert client.get("/health/live").status_code == 200  # so it has been read by now
        client.process.terminate()  # type: ignore[attr-defined]
        wait_for(lambda: is_closed(port_of(client)))
        connection.sendall(b"host: x\r\n\r\n")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer


def test_a_worker_that_dies_while_it_is_asked_for_a_sign_of_life_is_replaced_at_once(
    world: World, tmp_path: Path
):
    with service(world, tmp_path) as api:
        stuck = api.workers()[0]
        stuck.suspend()
        time.sleep(1.5)  # by now it has been asked, and would have half a minute for an answer
        ready, began = api.said("ready"), time.monotonic()
        stuck.kill()
        wait_for(lambda: api.said("ready") > ready)
        assert time.monotonic() - began < 20


def is_closed(port: int) -> bool:
    client = StrictClient(port)
    try:
        client.get("/health/live")
    except NoAnswerError as failure:
        return failure.kind == "refused"
    finally:
        client.close()
    return False


def StrictSocket(port: int) -> socket.socket:  # noqa: N802 - reads as what it makes
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def test_the_oracle_sees_a_wrong_answer_and_the_load_one_that_is_cut(world: World, tmp_path: Path):
    oracle = Oracle(world)
    questions = [q for q in map(oracle.question, range(99)) if len(q.ids) == 1]
    first, other = [q for q in questions if q.path == "/v1/nodes/predict"][:2]
    with service(world, tmp_path, workers=1) as api:
        client = StrictClient(api.port)
        answer = client.post(first.path, first.body)
        client.close()
        assert oracle.is_right(first, answer)
        assert not oracle.is_right(other, answer)
        load = Load(api.port, oracle, 50.0)
        load.start()
        load.answer_more(5)
        api.kill()
        wait_for(lambda: load.count()["refused"] > 5)
        load.end()
    outcome = Outcome("F2", "in small").count(load)
    with pytest.raises(AssertionError, match="failed, allowed are"):
        outcome.check()


def test_the_oracle_asks_at_every_door_and_sees_what_belongs_to_another_question(
    world: World, tmp_path: Path
):
    oracle, seen = Oracle(world, "tables"), Counter[tuple[str, bool]]()
    kept: dict[str, tuple[Question, Answer]] = {}
    with service(world, tmp_path, embeddings=world.embeddings, workers=1) as api:
        for question in map(oracle.question, range(150)):
            answer = api.post(question.path, **json.loads(question.body))
            assert answer.status == 200, (question.body, answer.body)
            assert oracle.is_right(question, answer), (question.body, answer.body)
            seen[question.path, question.needs_table] += 1
            before = kept.setdefault(question.path, (question, answer))
            if before[0].body != question.body:
                assert not oracle.is_right(question, before[1])
    assert seen.keys() == {
        ("/v1/nodes/predict", False), ("/v1/nodes/predict", True),
        ("/v1/nodes/embed", False), ("/v1/nodes/embed", True),
        ("/v1/nodes/similar", True), ("/v1/links/predict", False), ("/v1/graphs/predict", False),
    }  # fmt: skip
