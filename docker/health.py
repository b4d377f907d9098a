#!/usr/bin/env -S python3 -I -S
"""Exit code 0 where `/health/ready` of the server in this container answers 200, else 1.

A worker has no port: where `gnn worker` has touched GNN_WORKER_HEARTBEAT, the age of that file
tells instead. It asks no Redis, so that one that is lost ends no worker.

It imports nothing of the service, so that a check costs some 40 ms and no memory to speak of.
"""

import os
import socket
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

TIMEOUT_S = 4
OLDEST_S = 30


def connection() -> HTTPConnection:
    """To the port, or to the Unix socket where the server listens on one."""
    port = int(os.environ.get("GNN_PORT", "8000"))
    made = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    if path := os.environ.get("GNN_UDS"):
        made.sock = socket.socket(socket.AF_UNIX)
        made.sock.settimeout(TIMEOUT_S)
        made.sock.connect(path)
    return made


def worker_turns() -> bool | None:
    """Whether the worker touched its file of late; None where there is no such file."""
    try:
        touched = Path(os.environ["GNN_WORKER_HEARTBEAT"]).stat().st_mtime
    except (KeyError, OSError):
        return None
    return time.time() - touched < OLDEST_S


def is_ready() -> bool:
    """Whether the server answers, and with 200."""
    try:
        made = connection()
        made.request("GET", "/health/ready")
        return made.getresponse().status == 200
    except (OSError, HTTPException):
        return False


if __name__ == "__main__":
    turns = worker_turns()
    sys.exit(not (is_ready() if turns is None else turns))
