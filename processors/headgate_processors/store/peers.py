"""Whether other writers share the folder: then a record that is new here may be known there."""

import time

from headgate_processors.store.folder import StoreFolder
from headgate_processors.store.layout import sequence_of
from headgate_processors.store.lock import is_held
from headgate_processors.store.manifest import sealed_state


class Peers:
    """Watches the other writers of one folder, from the moment it is made."""

    def __init__(self, folder: StoreFolder, writer: str, *, interval_s: float) -> None:
        self._folder, self._writer, self._interval_s = folder, writer, interval_s
        self._sealed = self._sealed_by_others()
        self._asked_s = float("-inf")

    def were_active(self) -> bool | None:
        """Whether another writer is open, left a segment, or sealed one since the last answer.

        None when the last answer is younger than the interval.
        """
        if time.monotonic() - self._asked_s < self._interval_s:
            return None
        self._asked_s = time.monotonic()
        before, self._sealed = self._sealed, self._sealed_by_others()
        return self._sealed != before or self._has_segments() or self._is_any_open()

    def _sealed_by_others(self) -> dict[str, int]:
        sealed = sealed_state(self._folder.root)
        return {writer: sequence for writer, sequence in sealed.items() if writer != self._writer}

    def _has_segments(self) -> bool:
        names = (sequence_of(path) for path in self._folder.segments.glob("*.seg"))
        return any(name is not None and name[0] != self._writer for name in names)

    def _is_any_open(self) -> bool:
        return any(is_held(path) for path in self._folder.writers.glob("*.lock") if path.stem != self._writer)
