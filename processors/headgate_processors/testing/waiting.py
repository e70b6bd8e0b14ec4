"""Waiting for what another thread does, in tests."""

import time
from collections.abc import Callable

_LOOK_EVERY_S = 0.002


def wait_until(is_so: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
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
