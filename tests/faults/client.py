"""An HTTP client that forgives nothing: one socket, no retries, and a name for every failure.

Ordinary clients ask again behind the caller's back when a connection that was kept alive turns out
to be closed, and so hide exactly what is looked for here.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "NoAnswerError", "StrictClient"]

RECEIVE_BYTES = 1 << 16


class NoAnswerError(Exception):
    """A request without an answer; `kind` is refused (no connection), cut (it was closed) or late
    (nothing came in time).
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class StrictClient:
    """One connection at a time, opened when it is needed.

    Args:
        port: on 127.0.0.1.
        timeout_s: an answer later than this is none.
    """

    def __init__(self, port: int, timeout_s: float = 20.0) -> None:
        self.port, self.timeout_s = port, timeout_s
        self._socket: socket.socket | None = None
        self._left = b""

    def post(self, path: str, body: bytes, close: bool = False) -> Answer:
        """Send once."""
        head = f"POST {path} HTTP/1.1\r\nhost: faults\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\n" + "connection: close\r\n" * close + "\r\n"
        return self.send(head.encode() + body)

    def get(self, path: str) -> Answer:
        """Send once."""
        return self.send(f"GET {path} HTTP/1.1\r\nhost: faults\r\n\r\n".encode())

    def send(self, request: bytes) -> Answer:
        """These bytes, and the one answer to them.

        Raises:
            NoAnswerError: there is none.
        """
        try:
            self._open().sendall(request)
            return self._read()
        except TimeoutError:
            self.close()
            raise NoAnswerError("late") from None
        except OSError:
            self.close()
            raise NoAnswerError("cut") from None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._left = None, b""

    def _open(self) -> socket.socket:
        if self._socket is None:
            try:
                self._socket = socket.create_connection(("127.0.0.1", self.port), self.timeout_s)
            except OSError:
                raise NoAnswerError("refused") from None
        return self._socket

    def _read(self) -> Answer:
        while b"\r\n\r\n" not in self._left:
            self._receive()
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        size = int(headers["content-length"])
        while len(self._left) < size:
            self._receive()
        body, self._left = self._left[:size], self._left[size:]
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(first.split()[1]), headers, body)

    def _receive(self) -> None:
        assert self._socket is not None
        part = self._socket.recv(RECEIVE_BYTES)
        if not part:
            raise ConnectionResetError
        self._left += part
