"""Work on large bodies, beside the event loop: meanwhile other calls go on, and stops reach them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

THREADS = 2
_T = TypeVar("_T")


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="aside")


@dataclass(frozen=True, slots=True)
class Aside:
    """A few threads, which begin with the first work. What waits for one is bounded by the server's connections."""

    _executor: ThreadPoolExecutor = field(default_factory=_threads, repr=False)

    async def __call__(self, work: Callable[[], _T]) -> _T:
        """What the work gives, from a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
