"""Whether other writers share the folder: then a record that is new here may be known there."""

from collections.abc import Mapping

from headgate_processors.store.folder import StoreFolder, sequence_of
from headgate_processors.store.lock import is_held
from headgate_processors.store.manifest import Manifest


class Peers:
    """Watches the other writers of one folder."""

    def __init__(self, folder: StoreFolder, writer: str) -> None:
        self._folder, self._writer = folder, writer
        self._seen: Mapping[str, int] | None = None

    def were_active(self, manifest: Manifest) -> bool:
        """Whether another writer is open, left a segment, or sealed one since this was last asked."""
        others = {writer: sequence for writer, sequence in manifest.sealed.items() if writer != self._writer}
        sealed = self._seen is not None and others != self._seen
        self._seen = others
        return sealed or self._has_segments() or self._is_any_open()

    def _has_segments(self) -> bool:
        names = (sequence_of(path) for path in self._folder.segments.glob("*.seg"))
        return any(name is not None and name[0] != self._writer for name in names)

    def _is_any_open(self) -> bool:
        return any(is_held(path) for path in self._folder.writers.glob("*.lock") if path.stem != self._writer)
