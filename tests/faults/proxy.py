"""A network between service and Redis that misbehaves on command: a proxy of blocking sockets."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["MODES", "Proxy", "proxying"]

MODES = ("delay", "drop", "half-close", "garbage", "trickle", "reset")
GARBAGE = b"$-7\r\n\x00*999999999\r\n:12x\r\n$3\r\nab"
CUT_AT_ONCE = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes on to a port, in the present `mode`: "" is as they are.

    delay: answers 200 ms later; drop: swallows answers; half-close: ends the answers and goes on
    reading; garbage: answers nonsense; trickle: a byte at a time; reset: cuts the connection.

    Two threads a connection; the one that reads what is asked closes both ends.
    """

    def __init__(self, port: int) -> None:
        self.to_port, self.mode = port, ""
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._left = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Cut every connection, and wait until nobody is left."""
        with self._lock:
            self._left.set()
            for end in (self._door, *self._open):
                _hang_up(end)
        for thread in self._threads:
            thread.join()
        self._door.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the door was closed
            while True:
                asking = self._door.accept()[0]
                thread = threading.Thread(target=self._join, args=(asking,))
                self._threads.append(thread)
                thread.start()

    def _join(self, asking: socket.socket) -> None:
        with asking, suppress(OSError), self._to_redis() as redis:
            with self._lock:
                self._open |= {asking, redis}
                if self._left.is_set():
                    return
            back = threading.Thread(target=self._answer, args=(redis, asking))
            back.start()
            try:
                while part := asking.recv(65536):
                    redis.sendall(part)
            finally:
                _hang_up(redis)
                back.join()
                with self._lock:
                    self._open -= {asking, redis}

    def _to_redis(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.to_port))

    def _answer(self, redis: socket.socket, asking: socket.socket) -> None:
        with suppress(OSError):
            while part := redis.recv(65536):
                if self.mode == "reset":
                    asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CUT_AT_ONCE)
                    asking.shutdown(socket.SHUT_RD)  # wakes its reader, which closes it
                    return
                if self.mode == "half-close":
                    asking.shutdown(socket.SHUT_WR)
                    return
                for piece in self._pieces(part):
                    if self.mode in ("delay", "trickle"):
                        self._left.wait(0.2 if self.mode == "delay" else 0.01)
                    asking.sendall(piece)
        _hang_up(asking)

    def _pieces(self, part: bytes) -> list[bytes]:
        if self.mode == "trickle":
            return [bytes([byte]) for byte in part]
        return {"drop": [], "garbage": [GARBAGE]}.get(self.mode, [part])


def _hang_up(end: socket.socket) -> None:
    """Wake whoever waits for it; closing is the business of its owner."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxying(port: int) -> Iterator[Proxy]:
    """A proxy while the context lives."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
