"""How much memory the bodies of calls take, which are kept until their calls are over."""

from collections import Counter
from dataclasses import dataclass, field

BYTES_MAX = 512 << 20
SHARE_BYTES_MAX = 128 << 20


@dataclass(slots=True)
class Bodies:
    """The bytes of all bodies that are here or on their way. For one event loop.

    One instance may have `share_bytes_max` of `bytes_max`, so that it leaves others theirs.
    """

    bytes_max: int = BYTES_MAX
    share_bytes_max: int = SHARE_BYTES_MAX
    _total: int = 0
    _shares: Counter[str] = field(default_factory=Counter)

    @property
    def taken(self) -> int:
        """The bytes of all."""
        return self._total

    def take(self, instance_id: str, size: int) -> bool:
        """Whether there is room for a body of this size; then it is taken."""
        share = self._shares.get(instance_id, 0)
        if self._total + size > self.bytes_max or share + size > self.share_bytes_max:
            return False
        self._total += size
        self._shares[instance_id] = share + size
        return True

    def give_back(self, instance_id: str, size: int) -> None:
        """So much of what was taken is free again."""
        self._total -= size
        self._shares[instance_id] -= size
        if not self._shares[instance_id]:
            del self._shares[instance_id]
