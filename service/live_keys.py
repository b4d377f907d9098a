"""Keys that follow their file, and a bound on how many wrong ones one address may try.

The file is read again and again; when its text is another it takes the place of what was there, as
a whole or not at all. Wrong keys fill a token bucket per client address (a network of 64 bits where
addresses are IPv6): a right key passes whatever came before it from the same address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from sampling.errors import GnnError
from service.keys import ApiKey, KeyRing, read_keys

__all__ = ["KeyMetrics", "LiveKeys", "WrongKeys", "following_keys"]

LOOK_S = 0.5
MINUTE_S = 60.0
MOST_ADDRESSES = 10_000

log = structlog.get_logger()


class KeyMetrics:
    """Documented in `docs/rest.md`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.wrong = Counter(
            "gnn_wrong_keys",
            "Requests with a wrong key, by how they were answered.",
            ["status"],
            registry=registry,
        )
        self.reloads = Counter(
            "gnn_keys_reloads", "Times that the keys file was taken up anew.", registry=registry
        )
        self.unusable = Gauge(
            "gnn_keys_unusable",
            "Workers that cannot use the keys file, and keep the keys from before.",
            registry=registry,
            multiprocess_mode="livesum",
        )


class LiveKeys:
    """The keys that are valid now.

    Args:
        text: lines of keys.
        where: that they come from.
        path: of the file that they are to follow, or None.

    Raises:
        InputError: the text holds no valid keys.
    """

    def __init__(self, text: str, where: str, path: Path | None = None) -> None:
        self.path = path
        self._text, self._ring = text, KeyRing.parse(text, where)
        self._refused: str | None = None

    @classmethod
    def open(cls, path: Path) -> LiveKeys:
        """Keys from a file, which they follow.

        Raises:
            InputError: it holds no valid keys.
        """
        return cls(read_keys(path), str(path), path)

    def find(self, secret: str) -> ApiKey | None:
        """The key that a client sent, or None."""
        return self._ring.find(secret)

    def look(self, metrics: KeyMetrics) -> None:
        """Take up the file where it has changed; one that cannot be used changes nothing."""
        if self.path is None:
            return
        try:
            text = read_keys(self.path)
            if text != self._text:
                self._ring, self._text = KeyRing.parse(text, str(self.path)), text
                metrics.reloads.inc()
                log.info("keys_taken_up", keys=len(self._ring))
        except (GnnError, OSError) as error:
            self._say(str(error))
            metrics.unusable.set(1)
        else:
            self._refused = None
            metrics.unusable.set(0)

    def _say(self, reason: str) -> None:
        if reason != self._refused:
            log.error("keys_unusable", reason=reason)
        self._refused = reason


@asynccontextmanager
async def following_keys(keys: LiveKeys | None, metrics: KeyMetrics) -> AsyncIterator[None]:
    """Follow the keys file while the context lives."""
    if keys is None or keys.path is None:
        yield
        return
    task = asyncio.create_task(_follow(keys, metrics), name="keys")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _follow(keys: LiveKeys, metrics: KeyMetrics) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await asyncio.to_thread(keys.look, metrics)
        except Exception as error:
            log.error("keys_not_read", exc_info=error)


class WrongKeys:
    """How many wrong keys an address may still send.

    Args:
        per_minute: of one address; 0 is any number.
        most_addresses: that are kept in mind; the one that was quiet for longest goes first.
        clock: seconds.

    Example:
        >>> wrong = WrongKeys(2, clock=lambda: 0.0)
        >>> [wrong.wait_s("192.0.2.1") for _ in range(3)]
        [0, 0, 30]
    """

    def __init__(
        self,
        per_minute: int,
        most_addresses: int = MOST_ADDRESSES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_minute, self.most_addresses, self.clock = per_minute, most_addresses, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def wait_s(self, address: str) -> int:
        """Count a wrong key; seconds until the address may send another, 0 where it still may."""
        if not self.per_minute:
            return 0
        name, now, rate = network_of(address), self.clock(), self.per_minute / MINUTE_S
        left, then = self._left.pop(name, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - then) * rate)
        allowed = left >= 1
        self._left[name] = (left - allowed, now)
        if len(self._left) > self.most_addresses:
            self._left.popitem(last=False)
        return 0 if allowed else math.ceil((1 - left) / rate)


def network_of(address: str) -> str:
    """What counts as one client: the address, or its network where it is IPv6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
