"""How full the disk may become: what is kept free, so that sealing, compaction and deleting can always go on."""

from dataclasses import dataclass
from pathlib import Path

from headgate_processors.store.disk import Disk, Room

RESERVE_BYTES = 1 << 30
RESERVE_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What stays free: so many bytes, or that share of the disk; where both are given, the smaller."""

    bytes: int | None = RESERVE_BYTES
    share: float | None = RESERVE_SHARE

    def of(self, room: Room) -> int:
        """In bytes, on this disk."""
        shares = [] if self.share is None else [round(room.total_bytes * self.share)]
        return min([*([] if self.bytes is None else [self.bytes]), *shares], default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """Tells whether more may be written. It asks the file system every time, so it goes on as soon as there is room."""

    root: Path
    disk: Disk
    reserve: Reserve

    def lacks(self, wanted_bytes: int) -> str | None:
        """Why this much may not be written now; None when it may.

        Raises:
            OSError: the file system does not answer.
        """
        room = self.disk.room(self.root)
        kept = self.reserve.of(room)
        if room.free_bytes - wanted_bytes >= kept:
            return None
        return (
            f"the disk under {self.root} is nearly full: {_mib(room.free_bytes)} free, {_mib(wanted_bytes)} needed, "
            f"and {_mib(kept)} stay free (store.disk_free_min)"
        )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
