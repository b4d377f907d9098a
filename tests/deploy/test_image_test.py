"""`make image-test`: what it asks, put to a server without a container; and what it would run."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import ROOT, make_world, running


def ask(url: str, node: int) -> subprocess.CompletedProcess[str]:
    with (ROOT / "scripts/image_asks.py").open() as script:
        return subprocess.run(
            [sys.executable, "-I", "-", str(node), url], stdin=script,
            capture_output=True, text=True, check=False,
        )  # fmt: skip


def test_a_server_answers_all_that_is_asked_of_an_image(tmp_path: Path):
    with running(make_world(tmp_path).settings(jobs=tmp_path / "jobs")) as client:
        url = str(client.base_url).rstrip("/")
        done = ask(url, 105)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(" answers are right\n")
        wrong = ask(url, 7)  # no node of this graph
        assert wrong.returncode == 1
        assert "/v1/nodes/predict answers 422 and not 200" in wrong.stderr


def test_what_is_no_such_server_fails(tmp_path: Path):
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        done = ask(f"http://127.0.0.1:{server.server_port}", 1)
        server.shutdown()
    assert done.returncode == 1
    assert "after 2 answers: " in done.stderr


def test_the_target_builds_the_image_and_runs_that_one():
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # of a make that runs the tests
    done = subprocess.run(
        ["make", "--dry-run", "image-test"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={name: value for name, value in os.environ.items() if name not in outer},
    )  # fmt: skip
    assert done.stdout.splitlines()[-2:] == [
        "scripts/image.sh cpu", "scripts/image-test.sh gnn-service:cpu",
    ]  # fmt: skip


def test_the_image_runs_confined_and_as_nobody():
    script = (ROOT / "scripts/image-test.sh").read_text()
    assert (
        subprocess.run(["bash", "-n", ROOT / "scripts/image-test.sh"], check=False).returncode == 0
    )
    assert script.count('"${confined[@]}"') == script.count("docker run ") == 2
    for word in ("--read-only", "--cap-drop ALL", "no-new-privileges", "--network none"):
        assert word in script
    assert "--user" not in script  # the image's own
