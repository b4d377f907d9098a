"""A network between service and Redis that misbehaves on command: a proxy of one asyncio loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["MODES", "Proxy", "proxying"]

MODES = ("delay", "drop", "half-close", "garbage", "trickle", "reset")
GARBAGE = b"$-7\r\n\x00*999999999\r\n:12x\r\n$3\r\nab"


class Proxy:
    """Passes bytes on to a port, in the present `mode`: "" is as they are.

    delay: answers 200 ms later; drop: swallows answers; half-close: ends the answers and goes on
    reading; garbage: answers nonsense; trickle: a byte at a time; reset: cuts the connection.
    """

    def __init__(self, port: int) -> None:
        self.to_port, self.mode = port, ""
        self.port = 0

    async def serve(self) -> None:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            await server.serve_forever()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.to_port)
        except OSError:
            writer.close()
            return
        asks = asyncio.create_task(self._ask(reader, back))
        with suppress(OSError):
            await self._answer(there, writer)
        asks.cancel()
        for end in (writer, back):
            end.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(65536):
            if self.mode == "reset":
                writer.transport.abort()
                return
            if self.mode == "half-close":
                writer.write_eof()
                await asyncio.sleep(3600)
            for piece in self._pieces(part):
                if self.mode in ("delay", "trickle"):
                    await asyncio.sleep(0.2 if self.mode == "delay" else 0.01)
                writer.write(piece)
                await writer.drain()

    def _pieces(self, part: bytes) -> list[bytes]:
        if self.mode == "trickle":
            return [bytes([byte]) for byte in part]
        return {"drop": [], "garbage": [GARBAGE]}.get(self.mode, [part])


@contextmanager
def proxying(port: int) -> Iterator[Proxy]:
    """A proxy in a thread of its own."""
    proxy, loop = Proxy(port), asyncio.new_event_loop()

    def turn() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        for left in asyncio.all_tasks(loop):
            left.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()

    task = loop.create_task(proxy.serve())
    thread = threading.Thread(target=turn)
    thread.start()
    try:
        while not proxy.port:
            threading.Event().wait(0.01)
        yield proxy
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
