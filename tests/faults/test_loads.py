"""Loads in small: what they would see is shown to them, and a healthy service passes."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from faults.__main__ import MARKS, keep, run_on
from faults.client import StrictClient
from faults.kills import _Tiles
from faults.loads import _left_over, _normal_again, _settled, connection_storm, overload
from faults.loads import mixed_sizes as mixed
from faults.outcome import Outcome, Target
from faults.processes import service
from faults.storm import Reply, Storm, run_storm, statuses
from faults.worlds import World, every_model


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return every_model(tmp_path_factory.mktemp("loads"))


def test_connections_that_come_and_go_leave_nothing(world: World, tmp_path: Path):
    done = connection_storm(world, tmp_path, 200)
    done.check()
    assert done.answers == 100
    assert [target.what for target in done.targets] == ["slowest", "descriptors left"]


def test_connections_that_stay_are_seen(world: World, tmp_path: Path):
    with service(world, tmp_path) as api:
        api.get("/health/live")
        before = _settled(api)
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(closing(StrictClient(api.port))).get("/health/live")
            assert _left_over(api, before, within_s=1.0) == 20
        assert _left_over(api, before) == 0


def test_what_is_too_much_is_refused_politely(world: World, tmp_path: Path):
    done = overload(world, tmp_path, 2)
    done.check()
    assert done.answers > 0
    assert done.failed["503"] > 0
    assert "goodput" in done.row()


def test_one_id_is_answered_beside_a_thousand(world: World, tmp_path: Path):
    done = mixed(world, tmp_path, 1)
    done.check()
    [target] = done.targets
    assert target.got > 0
    assert target.bound > 0


def test_a_storm_names_what_became_of_every_request(world: World, tmp_path: Path):
    ask = b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n"
    with service(world, tmp_path, workers=1) as api:
        requests = [ask % b"/health/live", ask % b"/v1/nowhere"]
        replies = run_storm(Storm(api.port, requests, 0.5, 2, rate=100.0))
        found = statuses(replies)
        assert found["200"] == found["404"] == 25
        api.kill()
        assert set(statuses(run_storm(Storm(api.port, requests, 0.2, 1)))) == {"cut"}


def reply(due: float, seconds: float, status: int = 200) -> Reply:
    return Reply(due, seconds, seconds, status, False, 0)


def test_it_is_normal_behind_the_last_second_that_is_not():
    calm = [reply(n / 10, 0.01) for n in range(70)]
    assert _normal_again(calm, 50.0) == 0.0
    assert _normal_again([*calm, reply(2.5, 0.01, 503)], 50.0) == 3.0
    assert _normal_again([*calm, reply(4.5, 0.2)], 50.0) == 5.0


def test_a_target_that_is_missed_is_said_and_is_no_failure():
    done = Outcome("F0", "in small", recovery_s=6.0, recovery_limit_s=5.0)
    done.targets = [Target("goodput", 91.0, 90, "%", at_least=True), Target("p99", 9.0, 10, "ms")]
    done.check()
    assert [target.what for target in done.missed] == ["recovered after"]
    assert "**missed**: recovered after 6 s (≤ 5 s); kept: goodput 91% (≥ 90%)" in done.row()


def test_a_tile_that_is_written_twice_is_counted(tmp_path: Path):
    tiles = _Tiles(tmp_path)
    for lines in (["a 0", "a 4"], ["a 4", "a 8"], ["b 0"]):
        tiles.log.write_text("\n".join(lines))
        tiles.count()
    assert (tiles.written, tiles.repeated, tiles.most_repeated) == (5, 1, 1)
    tiles.forget()
    tiles.log.write_text("a 0")
    tiles.count()
    assert tiles.repeated == 1


def test_a_row_that_is_run_again_replaces_its_own_and_no_other(tmp_path: Path):
    record, document = tmp_path / "record.json", tmp_path / "page.md"
    document.write_text(f"before\n{MARKS[0]}\n{MARKS[1]}\nafter\n")
    keep("F2 service killed", "| F2 | old |", record, document)
    keep("F1 worker killed", "| F1 | kept |", record, document)
    keep("F2 service killed", "| F2 | new |", record, document)
    lines = document.read_text().splitlines()
    assert lines[4:6] == ["| F1 | kept |", "| F2 | new |"]
    assert (lines[0], lines[-1]) == ("before", "after")
    assert run_on(datetime(2026, 3, 1, tzinfo=UTC), 0.1) == "2026-03-01, 0.1 of it"
