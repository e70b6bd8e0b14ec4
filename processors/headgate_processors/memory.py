"""Memory that is free goes back to the system: which allocator a process of ours has, and when it is told."""

from collections.abc import Mapping

import pyarrow as pa

SPARING: Mapping[str, str] = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
"""The environment of a process that runs for long: one heap for Arrow and Python, in few pieces.

Arrow's own allocators keep what is freed, each beside the heap of Python, and have the system clear fresh pages over
and over; the heap of libc has as many pieces as there were threads at once.
"""


def give_back() -> None:
    """Give what is free back to the system; it takes milliseconds."""
    pa.default_memory_pool().release_unused()
