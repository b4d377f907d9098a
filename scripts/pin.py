"""Writes down what tags stand for today: `python scripts/pin.py docker/pins.env` (`make pin`).

The digest of every image that Dockerfile and docker-compose.yml name, asked of its registry, and
the SHA-256 of torch's wheel, asked of its index, as variables that `make image` and Compose read.
With REGISTRY and TORCH_INDEX set, a mirror is asked.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPResponse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HUB = "https://registry-1.docker.io"
IMAGE = re.compile(r"(?:ARG |\$\{)(\w+)(?:=|:-)(docker\.io/([a-z0-9./-]+):([\w.-]+))")
KINDS = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PYTHON, TIMEOUT_S = "cp311-cp311", 30


def images() -> dict[str, tuple[str, str, str]]:
    """Variable to reference, repository and tag of every image with a tag."""
    text = "".join(
        (ROOT / name).read_text() for name in ("docker/Dockerfile", "docker-compose.yml")
    )
    return {name: (whole, path, tag) for name, whole, path, tag in IMAGE.findall(text)}


def digest_of(registry: str, path: str, tag: str) -> str:
    """The digest that a tag stands for, of all platforms together.

    Raises:
        ValueError: the registry names none.
        OSError: it does not answer.
    """
    url, headers = f"{registry}/v2/{path}/manifests/{tag}", {"accept": KINDS}
    try:
        answer = opened(url, headers, "HEAD")
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        token = token_for(error.headers.get("www-authenticate", ""))
        answer = opened(url, headers | {"authorization": f"Bearer {token}"}, "HEAD")
    digest = answer.headers.get("docker-content-digest", "")
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"{url} names no digest")
    return digest


def token_for(challenge: str) -> str:
    """What a registry that wants to know who asks gives to anyone."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = "&".join(f"{name}={fields[name]}" for name in ("service", "scope") if name in fields)
    answer = json.load(opened(f"{fields['realm']}?{query}", {}))
    return str(answer.get("token") or answer["access_token"])


def torch_digest(index: str) -> str:
    """SHA-256 of the wheel that the image installs on this kind of machine."""
    given = re.search(r"^ARG TORCH=torch==(\S+)$", (ROOT / "docker/Dockerfile").read_text(), re.M)
    assert given is not None, "the Dockerfile names a version of torch"
    page = opened(f"{index}/torch/", {}).read().decode()
    wheel = rf"torch-{re.escape(given[1])}(?:%2B|\+)?\w*-{PYTHON}-[\w.]*{os.uname().machine}\.whl"
    found = re.search(rf"{wheel}#sha256=([0-9a-f]{{64}})", page)
    if found is None:
        raise ValueError(f"{index} has no wheel of torch {given[1]} with a SHA-256")
    return found[1]


def opened(url: str, headers: Mapping[str, str], method: str = "GET") -> HTTPResponse:
    """An answer of HTTP."""
    request = urllib.request.Request(url, headers=dict(headers), method=method)  # noqa: S310 - a registry
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - of HTTP
    return answer


def main(out: Path) -> None:
    """Write everything, or nothing."""
    registry = os.environ.get("REGISTRY", HUB)
    index = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
    lines = ["# Written by `make pin`; do not edit. docs/releasing.md says who reads it."]
    for name, (whole, path, tag) in sorted(images().items()):
        lines.append(f"{name}={whole}@{digest_of(registry, path, tag)}")
    lines.append(f"TORCH_SHA256={torch_digest(index)}")
    out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"nothing was pinned: {error}")
