"""Ports for what tests start."""

import contextlib
import random
import socket


def free_port() -> int:
    """A port where nobody listens, below those that systems give to outgoing connections at any moment."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False
