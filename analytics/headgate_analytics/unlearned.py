"""What the deriver must not learn again: facts about what was forgotten."""

from hashlib import sha256
from pathlib import Path

from headgate_analytics.stitch import Fact
from headgate_processors.store.forgotten import Tombstone, read_forgotten, session_ids_of


class Unlearned:
    """What was forgotten in a store, as it stands at one moment."""

    def __init__(self, tombstones: tuple[Tombstone, ...]) -> None:
        self._traces = {trace for one in tombstones for trace in one.trace_ids}
        self._sessions = {session for one in tombstones for session in one.session_ids}
        gone = [one for one in tombstones if one.applied_version >= 0]
        told = sorted(
            repr((one.kind, one.since_unix_nano, one.session_ids, one.trace_ids, one.user_hash)) for one in gone
        )
        self.mark = sha256("\0".join(told).encode()).hexdigest() if told else ""
        """Changes when compaction has removed from raw files what a command named: then all is to be learnt anew."""

    @classmethod
    def of(cls, folder: Path) -> "Unlearned":
        """What was forgotten in the store of a folder.

        Raises:
            StoreError: that cannot be read.
        """
        return cls(read_forgotten(folder))

    def allows(self, fact: Fact) -> bool:
        """Whether a fact is about nothing that was forgotten."""
        if fact.trace_id is not None and fact.trace_id in self._traces:
            return False
        if fact.key is None or not self._sessions:
            return True
        return self._sessions.isdisjoint(session_ids_of(fact.tenant, fact.service_name, fact.key))
