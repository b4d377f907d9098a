"""API keys: 256 random bits that a client sends, of which the server keeps the SHA-256.

A line of the keys file, or of `GNN_API_KEYS`, is `name:scopes:sha256hex`, as in

    dashboard:read,predict:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

A name may have two keys, so that one can be replaced while the other still works. A key is compared
with all there are, each in constant time, so that how long it takes says nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sampling.errors import InputError

__all__ = ["SCOPES", "ApiKey", "KeyRing", "new_key", "read_keys"]

SCOPES = ("read", "predict", "admin")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")
MOST_BYTES = 1 << 20
KEYS_PER_NAME = 2


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key.

    Attributes:
        name: whose it is.
        scopes: what it opens; `admin` opens everything.
        digest: SHA-256 of the key, lower-case hexadecimal.
    """

    name: str
    scopes: frozenset[str]
    digest: str

    def allows(self, scope: str) -> bool:
        """Whether the key opens what needs this scope."""
        return scope in self.scopes or "admin" in self.scopes


class KeyRing:
    """All keys that are valid.

    Raises:
        InputError: there is none, a name has more than two, or one is there twice.

    Example:
        >>> secret, line = new_key("me", ["read"])
        >>> KeyRing.parse(line, "the example").find(secret).name
        'me'
    """

    def __init__(self, keys: Sequence[ApiKey], where: str) -> None:
        if not keys:
            raise InputError(f"{where} holds no key; `gnn key NAME` makes one")
        _check_counts(keys, where)
        self._keys = [(key, key.digest.encode()) for key in keys]

    @classmethod
    def parse(cls, text: str, where: str) -> KeyRing:
        """Keys from lines; empty lines and those that start with # say nothing."""
        lines = enumerate((line.strip() for line in text.splitlines()), 1)
        used = [(number, line) for number, line in lines if line and not line.startswith("#")]
        return cls([_key(line, f"{where}, line {number}") for number, line in used], where)

    @classmethod
    def open(cls, path: Path) -> KeyRing:
        """Keys from a file."""
        return cls.parse(read_keys(path), str(path))

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, secret: str) -> ApiKey | None:
        """The key that a client sent, or None."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest().encode()
        found = None
        for key, known in self._keys:
            if hmac.compare_digest(known, digest):
                found = key
        return found


def read_keys(path: Path) -> str:
    """The text of a keys file.

    Raises:
        InputError: it is too large, or no text.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(f"{path} is larger than {MOST_BYTES} bytes; it is no keys file")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; it is no keys file") from None


def new_key(name: str, scopes: Sequence[str]) -> tuple[str, str]:
    """A fresh key: what the client sends, and the line that the server keeps.

    Raises:
        InputError: no such name or scope can be.
    """
    secret = f"gnn_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    line = f"{name}:{','.join(scopes)}:{digest}"
    _key(line, "the key asked for")
    return secret, line


def _key(line: str, where: str) -> ApiKey:
    """A key from its line, which no message repeats."""
    name, scopes, digest = (*line.split(":"), "", "")[:3]
    if line.count(":") != 2 or not NAME.fullmatch(name) or not DIGEST.fullmatch(digest):
        raise InputError(
            f"{where} is not name:scopes:sha256hex; names are up to 64 letters, digits or ._-, "
            "and `gnn key NAME` writes such a line"
        )
    listed = scopes.split(",")
    unknown = [scope for scope in listed if scope not in SCOPES]
    if unknown:
        raise InputError(f"{where}: {unknown[0]!r} is no scope; choose from {', '.join(SCOPES)}")
    return ApiKey(name, frozenset(listed), digest)


def _check_counts(keys: Sequence[ApiKey], where: str) -> None:
    names, digests = Counter(k.name for k in keys), Counter(k.digest for k in keys)
    name, count = names.most_common(1)[0]
    if count > KEYS_PER_NAME:
        raise InputError(f"{where} has {count} keys for {name!r}; keep two at most")
    if max(digests.values()) > 1:
        raise InputError(f"{where} has the same key twice; give every name its own")
