"""Waiting for what another thread or process does, in tests."""

import asyncio
import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""Longer than anything that a test waits for takes, also on a machine that has much else to do."""
_LOOK_EVERY_S = 0.002


def wait_until(is_so: Callable[[], bool], *, timeout_s: float = PATIENCE_S) -> None:
    """Return as soon as `is_so()`.

    Raises:
        TimeoutError: it was not so in time.
    """
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            message = f"not so after {timeout_s:g} s"
            raise TimeoutError(message)
        time.sleep(_LOOK_EVERY_S)


async def until(is_so: Callable[[], bool], *, timeout_s: float = PATIENCE_S) -> None:
    """Return as soon as `is_so()`, and let the event loop work meanwhile.

    Raises:
        TimeoutError: it was not so in time.
    """
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110 - what is looked at is another thread's
            await asyncio.sleep(_LOOK_EVERY_S)
