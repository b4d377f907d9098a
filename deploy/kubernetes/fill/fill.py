"""Fetches graphs and models onto a volume: `python fill.py FILES VOLUME`.

A line of FILES is `TO SHA256 URL`: the contents of the tar archive at URL become the directory TO
of the volume, by a rename once all of it is there. A directory that is there already is left alone,
so that a second run fetches only what is missing. It imports nothing of the service.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tarfile
import urllib.request
from pathlib import Path, PurePosixPath

TO = re.compile(r"(graphs|models)(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){1,3}")
DIGEST = re.compile(r"[0-9a-f]{64}")
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60


def main(files: Path, volume: Path) -> None:
    """Fetch what is not there.

    Raises:
        ValueError: a line or an archive cannot be used.
        OSError: an address does not answer, or the volume is full.
    """
    lines = [line.split() for line in files.read_text().splitlines()]
    wanted = [words for words in lines if words and not words[0].startswith("#")]
    if not wanted:
        raise ValueError(f"{files.name} lists nothing to fetch")
    for words in wanted:
        if len(words) != 3 or not TO.fullmatch(words[0]) or not DIGEST.fullmatch(words[1]):
            raise ValueError(f"{' '.join(words)!r} is not TO SHA256 URL, as in files.txt")
    for to, digest, url in wanted:
        if (volume / to).exists():
            print(f"{to} is there")
            continue
        fetch(volume / to, digest, url)
        print(f"{to} was fetched")


def fetch(to: Path, digest: str, url: str) -> None:
    """Make a directory of an archive, as a whole or not at all."""
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url} is no address of HTTP")
    part = to.parent / f".{to.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        archive = part / "archive"
        found = download(url, archive)
        if found != digest:
            raise ValueError(f"{url} has SHA-256 {found}, and not {digest}")
        unpack(archive, part / "content")
        (part / "content").rename(to)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def download(url: str, path: Path) -> str:
    """Write what is at an address; returns its SHA-256."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, path.open("wb") as file:  # noqa: S310 - of HTTP
        while chunk := answer.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def unpack(archive: Path, to: Path) -> None:
    """Files and directories of a tar; anything else in it is refused."""
    to.mkdir()
    with tarfile.open(archive) as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
                raise ValueError(f"{member.name!r} in the archive is no file or leaves it")
            if member.isdir():
                (to / name).mkdir(parents=True, exist_ok=True)
                continue
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None, "a file has content"
            with (to / name).open("wb") as file:
                shutil.copyfileobj(content, file, CHUNK_BYTES)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except (ValueError, OSError, tarfile.TarError) as error:
        sys.exit(f"nothing more was fetched: {error}")
