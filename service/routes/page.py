"""The console at `/`: files of this package, read once, served by name and never by path."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.access import needs

__all__ = ["add_routes"]

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
START = "index.html"


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


def add_routes(app: FastAPI) -> None:
    """`/`, and the files that it loads under `/page/`."""
    known = _files()

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    @needs(None)
    async def console(request: Request) -> Response:
        return _answer(request, known[START])

    @app.api_route("/page/{name:text}", methods=["GET", "HEAD"], include_in_schema=False)
    @needs(None)
    async def page(request: Request, name: str) -> Response:
        if name not in known:
            raise HTTPException(404)
        return _answer(request, known[name])


def _files() -> dict[str, _File]:
    found = {}
    for entry in files("service").joinpath("page").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in TYPES:
            content = entry.read_bytes()
            tag = hashlib.sha256(content).hexdigest()[:32]
            found[entry.name] = _File(content, TYPES[suffix], f'"{tag}"')
    return found


def _answer(request: Request, file: _File) -> Response:
    headers = {
        "content-security-policy": POLICY,
        "cross-origin-opener-policy": "same-origin",
        "etag": file.etag,
        # asked again every time, and answered with 304: after an upgrade no file is an old one
        "cache-control": "no-cache",
    }
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
