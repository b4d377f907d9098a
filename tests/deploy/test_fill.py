"""The program that fills a volume: archives over HTTP become directories, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "deploy/kubernetes/fill/fill.py"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Where the files of `tmp_path / "www"` are."""
    (tmp_path / "www").mkdir()
    (tmp_path / "volume").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def archived(tmp_path: Path, name: str) -> str:
    """The SHA-256 of an archive that is put to the others, made as files.txt says."""
    made = tmp_path / "made"
    (made / "parts").mkdir(parents=True, exist_ok=True)
    (made / "graph.json").write_text("{}")
    (made / "parts/rows.npy").write_bytes(b"rows")
    path = tmp_path / "www" / name
    subprocess.run(["tar", "-C", made, "-czf", path, "."], check=True)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fill(tmp_path: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    files = tmp_path / "files.txt"
    files.write_text("# a comment\n\n" + "\n".join(lines))
    return subprocess.run(
        [sys.executable, "-I", SCRIPT, files, tmp_path / "volume"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def held(tmp_path: Path) -> list[str]:
    volume = tmp_path / "volume"
    return sorted(str(path.relative_to(volume)) for path in volume.rglob("*") if path.is_file())


def test_archives_become_directories_once(url: str, tmp_path: Path):
    digest = archived(tmp_path, "a.tar.gz")
    lines = [f"graphs/live {digest} {url}/a.tar.gz", f"models/default/1 {digest} {url}/a.tar.gz"]
    done = fill(tmp_path, *lines)
    assert done.returncode == 0, done.stderr
    expected = ["graphs/live/graph.json", "graphs/live/parts/rows.npy",
                "models/default/1/graph.json", "models/default/1/parts/rows.npy"]  # fmt: skip
    assert held(tmp_path) == expected
    (tmp_path / "www/a.tar.gz").unlink()
    again = fill(tmp_path, *lines)
    assert (again.returncode, again.stdout) == (
        0, "graphs/live is there\nmodels/default/1 is there\n",
    )  # fmt: skip
    assert held(tmp_path) == expected


def test_another_archive_than_the_one_named_leaves_nothing(url: str, tmp_path: Path):
    archived(tmp_path, "a.tar.gz")
    done = fill(tmp_path, f"graphs/live {'0' * 64} {url}/a.tar.gz")
    assert done.returncode == 1
    assert "has SHA-256" in done.stderr
    assert held(tmp_path) == []
    assert not (tmp_path / "volume/graphs/live").exists()


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "link", "device"])
def test_what_leaves_the_directory_is_refused(url: str, tmp_path: Path, name: str):
    entry = tarfile.TarInfo(name)
    entry.type = {"link": tarfile.SYMTYPE, "device": tarfile.CHRTYPE}.get(name, tarfile.REGTYPE)
    entry.linkname = "/etc"
    path = tmp_path / "www/evil.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(entry, io.BytesIO())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    done = fill(tmp_path, f"graphs/live {digest} {url}/evil.tar")
    assert done.returncode == 1
    assert "in the archive is no file or leaves it" in done.stderr
    assert held(tmp_path) == []
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("line", [
    "", "graphs/live", "graphs/live 12 http://x", "graphs/../.. {} http://x", "/graphs/live {} http://x",
    "graphs {} http://x", "graphs/live {} file:///etc/passwd",
])  # fmt: skip
def test_a_line_that_cannot_be_used_is_refused_in_a_sentence(url: str, tmp_path: Path, line: str):
    done = fill(tmp_path, line.format("0" * 64))
    assert done.returncode == 1
    assert done.stderr.startswith("nothing more was fetched: ")
    assert held(tmp_path) == []


def test_an_address_that_does_not_answer_is_an_error_and_leaves_nothing(url: str, tmp_path: Path):
    done = fill(tmp_path, f"graphs/live {'0' * 64} {url}/none.tar")
    assert done.returncode == 1
    assert "404" in done.stderr
    assert held(tmp_path) == []
