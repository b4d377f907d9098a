"""When the audit of locked versions fails, and when it only says that nobody could be asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@contextmanager
def an_index(*answers: bytes) -> Iterator[str]:
    """An index that answers so many times, and is gone after that."""
    left = list(answers)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if left else 404)
            self.end_headers()
            self.wfile.write(left.pop(0) if left else b"")

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def audit(folder: Path, index: str, found: int, *mode: str) -> subprocess.CompletedProcess[str]:
    """The script, with a pip-audit that ends with `found` and writes down what it was asked."""
    program = folder / "pip-audit"
    program.write_text(f'#!/bin/sh\necho "$@" >>{folder}/asked\nexit {found}\n')
    program.chmod(0o755)
    (folder / "python").unlink(missing_ok=True)
    (folder / "python").symlink_to(sys.executable)
    return subprocess.run(
        ["scripts/audit.sh", program, *mode], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"INDEX": index, "no_proxy": "127.0.0.1"}, check=False,
    )  # fmt: skip


KNOWS = b'{"vulnerabilities": []}'
NOT_CHECKED = "does not answer: known vulnerabilities of locked versions are not checked\n"


def test_every_lock_file_is_asked_about(tmp_path: Path):
    with an_index(KNOWS) as index:
        assert audit(tmp_path, index, 0, "--if-answered").returncode == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[-1] for line in asked] == [
        "constraints.txt", "docker/requirements.txt", "docker/load-requirements.txt",
    ]  # fmt: skip


@pytest.mark.parametrize("answer", [b"", b"no JSON", b'{"info": {}}'])
def test_without_an_answer_it_is_one_line_and_no_failure(tmp_path: Path, answer: bytes):
    with an_index(answer) as index:
        done = audit(tmp_path, index, 1, "--if-answered")
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"{index} {NOT_CHECKED}"
    assert not (tmp_path / "asked").exists()


def test_a_network_that_fails_meanwhile_is_no_failure_either(tmp_path: Path):
    with an_index(KNOWS) as index:
        done = audit(tmp_path, index, 1, "--if-answered")
    assert done.returncode == 0
    assert done.stderr == f"{index} {NOT_CHECKED}"


def test_a_vulnerability_fails(tmp_path: Path):
    with an_index(KNOWS, KNOWS) as index:
        done = audit(tmp_path, index, 1, "--if-answered")
    assert done.returncode == 1
    assert done.stderr.startswith("constraints.txt is not audited")


def test_an_audit_of_its_own_needs_an_answer(tmp_path: Path):
    with an_index() as index:
        assert audit(tmp_path, index, 1).returncode == 1


def test_checks_audit_where_they_can():
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "scripts/audit.sh .venv/bin/pip-audit --if-answered" in done.stdout
    assert "pip install --quiet --constraint constraints.txt --group release" in done.stdout
