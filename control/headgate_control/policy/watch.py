"""A folder of policies that may change while control runs: read again when it has, never replaced by a bad one.

Several files are often written one after the other, and a permit without the forbid beside it would let pass what
nobody meant. So a change is taken when two looks in a row have seen the same.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from headgate_control.policy.bundle import ARGUMENTS_FILE, load_bundle
from headgate_control.policy.engine import PolicyEngine
from headgate_processors.errors import ConfigError

LOOK_INTERVAL_S = 0.5
FILES_MAX = 10_000

_Signature = tuple[tuple[str, int, int, int], ...] | None
"""Name, time of change, size and inode of each file; None where the folder cannot be read."""


class PolicyFolder:
    """The last good bundle of a folder. For one thread; its `engine` is for any number."""

    def __init__(
        self,
        folder: Path,
        complain: Callable[[str], None],
        *,
        looked: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """Read the folder. `complain` is told once of each change that is refused.

        `looked` hears of each change why it is refused, or None.

        Raises:
            ConfigError: it is wrong from the start.
        """
        self._folder, self._complain, self._looked = folder, complain, looked
        self._read: _Signature = _signature(folder)
        self._seen = self._read
        self.engine = PolicyEngine(load_bundle(folder))

    def look(self) -> PolicyEngine | None:
        """The new engine where the policies have changed and are good; None where there is nothing new."""
        now = _signature(self._folder)
        is_settled, self._seen = now == self._seen, now
        if now == self._read or not is_settled:
            return None
        self._read = now
        try:
            bundle = load_bundle(self._folder)
        except ConfigError as error:
            self._looked(str(error))
            self._complain(f"the policies that changed are refused, {self.engine.bundle.digest} stays: {error}")
            return None
        self._looked(None)
        if bundle.digest == self.engine.bundle.digest:
            return None
        self.engine = PolicyEngine(bundle)
        return self.engine


async def follow(
    folder: PolicyFolder, use: Callable[[PolicyEngine], None], *, interval_s: float = LOOK_INTERVAL_S
) -> None:
    """Have every new engine of a folder used, until cancelled. Files are read by a thread."""
    while True:
        await asyncio.sleep(interval_s)
        found = await asyncio.to_thread(folder.look)
        if found is not None:
            use(found)


def _signature(folder: Path) -> _Signature:
    found: list[tuple[str, int, int, int]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".cedar") or entry.name == ARGUMENTS_FILE:
                    stat = entry.stat()
                    found.append((entry.name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
                if len(found) > FILES_MAX:
                    return None
    except OSError:
        return None
    return tuple(sorted(found))
