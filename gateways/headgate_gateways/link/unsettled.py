"""What calls have cost and control has not booked yet, on disk, so that it is told after a crash of either side.

What is lost with the disk is not under-counted: a reservation that nobody settles is spent in full.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import orjson

from headgate_control.budgets.amount import Amount
from headgate_control.budgets.written import amount_body
from headgate_processors.errors import TransientError
from headgate_processors.files import write_whole

UNSETTLED_MAX = 10_000
_LINES_BEYOND = 1_000


class Unsettled:
    """The settlements that wait, the oldest first. For one event loop; its file is for one process."""

    def __init__(self, path: Path, waiting: "OrderedDict[str, Amount]", *, waiting_max: int) -> None:
        self._path, self._waiting, self._waiting_max = path, waiting, waiting_max
        self._lines = len(waiting)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    @classmethod
    def open(cls, path: Path, *, waiting_max: int = UNSETTLED_MAX) -> "Unsettled":
        """What waits in a file; the end of a line that a crash cut short is left out.

        Raises:
            OSError: it cannot be read or written.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        waiting: OrderedDict[str, Amount] = OrderedDict()
        for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
            try:
                found = orjson.loads(line)
                waiting[found["reservation_id"]] = Amount(**found["amount"])
            except (ValueError, KeyError, TypeError):
                continue
        write_whole(path, b"".join(_line(one, amount) for one, amount in waiting.items()))
        return cls(path, waiting, waiting_max=waiting_max)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, reservation_id: object) -> bool:
        return reservation_id in self._waiting

    def add(self, reservation_id: str, amount: Amount) -> None:
        """Keep a settlement until control has booked it; of two of one reservation the first counts.

        Raises:
            TransientError: too many wait, or it cannot be written.
        """
        if reservation_id in self._waiting:
            return
        if len(self._waiting) >= self._waiting_max:
            message = f"{self._waiting_max} settlements wait for control: this one is left to expire, spent in full"
            raise TransientError(message)
        try:
            os.write(self._file, _line(reservation_id, amount))
        except OSError as error:
            raise TransientError(f"{self._path} cannot be written: {error}") from error
        self._lines += 1
        self._waiting[reservation_id] = amount

    def first(self, count: int) -> list[tuple[str, Amount]]:
        """The oldest."""
        return list(islice(self._waiting.items(), count))

    def booked(self, reservation_ids: Iterable[str]) -> None:
        """Control has these in its books, or has no such reservation any more.

        Raises:
            TransientError: the file cannot be written; it may tell of some of them again, which changes nothing.
        """
        for one in reservation_ids:
            self._waiting.pop(one, None)
        if self._waiting and self._lines < len(self._waiting) + _LINES_BEYOND:
            return
        left = b"".join(_line(one, amount) for one, amount in self._waiting.items())
        try:
            os.ftruncate(self._file, 0)
            os.write(self._file, left)
        except OSError as error:
            raise TransientError(f"{self._path} cannot be written: {error}") from error
        self._lines = len(self._waiting)

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _line(reservation_id: str, amount: Amount) -> bytes:
    return orjson.dumps({"reservation_id": reservation_id, "amount": amount_body(amount)}) + b"\n"
