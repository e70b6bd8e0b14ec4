"""What a process before this one has left untold because it was killed: its calls, and the last of its decisions."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headgate_control.audit.log import last_bodies
from headgate_control.identity.instance import Instance
from headgate_gateways.model.telling import QUEUE_RECORDS_MAX, Teller
from headgate_gateways.model.unfinished import Unfinished

DECISIONS_MAX = QUEUE_RECORDS_MAX // 2
LAST_NS = 60 * 1_000_000_000
"""Decisions are told at once; for so long the store may have been away. What is told twice is there once."""


def tell_left(
    teller: Teller, unfinished: Unfinished | None, instances: Mapping[str, Instance], *, folder: Path, writer: str
) -> None:
    """Tell of it; `writer` has the log of decisions in `folder`. A process that ended well has left nothing."""
    if unfinished is None:
        return
    for told in unfinished.left(instances.get):
        teller.call(told)
    if unfinished.was_killed:
        for row in _last(folder, writer):
            teller.again(row, instances.get(str(row.get("instance_id"))))


def _last(folder: Path, writer: str) -> Iterator[Mapping[str, Any]]:
    rows = [one for one in last_bodies(folder, writer, count=DECISIONS_MAX) if one.get("kind") == "decision"]
    since = rows[-1]["time_unix_nano"] - LAST_NS if rows else 0
    return (row for row in rows if row["time_unix_nano"] >= since)
