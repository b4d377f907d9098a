#!/usr/bin/env -S python3 -I -S
"""Exit code 0 where `/health/ready` of the server in this container answers 200, else 1.

It imports nothing of the service, so that a check costs some 40 ms and no memory to speak of.
"""

import os
import socket
import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT_S = 4


def connection() -> HTTPConnection:
    """To the port, or to the Unix socket where the server listens on one."""
    port = int(os.environ.get("GNN_PORT", "8000"))
    made = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    if path := os.environ.get("GNN_UDS"):
        made.sock = socket.socket(socket.AF_UNIX)
        made.sock.settimeout(TIMEOUT_S)
        made.sock.connect(path)
    return made


def is_ready() -> bool:
    """Whether the server answers, and with 200."""
    try:
        made = connection()
        made.request("GET", "/health/ready")
        return made.getresponse().status == 200
    except (OSError, HTTPException):
        return False


if __name__ == "__main__":
    sys.exit(not is_ready())
