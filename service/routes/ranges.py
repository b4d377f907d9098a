"""Files over HTTP, in whole or in part (RFC 9110, section 14): so that a broken download goes on.

One range per request; several, or a unit other than bytes, are answered with the whole file, as
the standard allows. The file is opened before the first byte is sent: whoever removes it meanwhile
takes it from the next request, not from this one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.errors import RangeError

__all__ = ["file_response", "parse_range"]

CHUNK_BYTES = 1 << 18
RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def file_response(
    request: Request, path: Path, size: int, tag: str, media_type: str, name: str
) -> Response:
    """The file, the part of it that was asked for, or 304 where the client has it.

    Args:
        request: with `Range`, `If-Range` and `If-None-Match`.
        path: the file.
        size: bytes that it has.
        tag: a digest of its content.
        media_type: of the file.
        name: what a browser should call it.

    Raises:
        RangeError: the part lies behind the end.
        OSError: the file is gone.
    """
    etag = f'"{tag}"'
    headers = {
        "accept-ranges": "bytes",
        "etag": etag,
        "content-disposition": f'attachment; filename="{name}"',
    }
    if _is_listed(etag, request.headers.get("if-none-match", "")):
        return Response(None, 304, headers)
    wanted = parse_range(request.headers.get("range", ""), size)
    if wanted is None or request.headers.get("if-range", etag) != etag:
        wanted, status = (0, size), 200
    else:
        headers["content-range"], status = f"bytes {wanted[0]}-{wanted[1] - 1}/{size}", 206
    headers["content-length"] = str(wanted[1] - wanted[0])
    if request.method == "HEAD":
        return Response(None, status, headers, media_type)
    return StreamingResponse(_pieces(path.open("rb"), *wanted), status, headers, media_type)


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None where the whole file is to be sent.

    Raises:
        RangeError: the range lies behind the end.

    Example:
        >>> parse_range("bytes=2-5", 10), parse_range("bytes=-3", 10), parse_range("", 10)
        ((2, 6), (7, 10), None)
    """
    match = RANGE.fullmatch(text.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise RangeError(size)
    return start, end


def _is_listed(etag: str, header: str) -> bool:
    return header.strip() == "*" or etag in (tag.strip() for tag in header.split(","))


async def _pieces(file: BinaryIO, start: int, end: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(start)
        while start < end:
            piece = await asyncio.to_thread(file.read, min(CHUNK_BYTES, end - start))
            if not piece:
                return
            start += len(piece)
            yield piece
