"""Where a load goes: into a file, at a certain rate to whoever sends it, or straight into a store."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import orjson
import pyarrow as pa

from headgate_processors.errors import OverloadError
from headgate_processors.generate.load import Made
from headgate_processors.generate.plan import Plan
from headgate_processors.generate.rows import RowTemplate, row_batches
from headgate_processors.generate.truth import Truth
from headgate_processors.replay.requests import ReplayRequest

ROOM_S = 300.0


class Sink(Protocol):
    """A store that rows are appended to."""

    def append(self, batches: Mapping[str, pa.RecordBatch]) -> object:
        """Store rows; returns when they are durable."""
        ...


@dataclass(slots=True, kw_only=True)
class Filled:
    """What a store was given so far."""

    sessions: int = 0
    spans: int = 0
    logs: int = 0


def write_requests(requests: Iterable[ReplayRequest], path: Path) -> Iterator[ReplayRequest]:
    """Write requests as the Collector's file exporter does, each behind four bytes of length; gives each on."""
    with path.open("wb") as file:
        for request in requests:
            file.write(len(request.body).to_bytes(4, "big"))
            file.write(request.body)
            yield request


def write_truths(truths: Iterable[Truth], path: Path) -> int:
    """Write the truth of each session as a line of JSON; gives their number."""
    number = 0
    with path.open("wb") as file:
        for number, truth in enumerate(truths, 1):  # noqa: B007 - the count outlives the loop
            file.write(orjson.dumps(truth) + b"\n")
    return number


def paced(
    requests: Iterable[ReplayRequest],
    made: Made,
    rate: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = time.sleep,
) -> Iterator[ReplayRequest]:
    """Requests no faster than so many spans a second; a receiver that was slow is not made up for."""
    began_s, spans = clock(), made.spans
    for request in requests:
        early_s = (made.spans - spans) / rate - (clock() - began_s)
        if early_s > 0:
            pause(early_s)
        elif early_s < -1:
            began_s, spans = clock(), made.spans
        yield request


def fill_store(
    store: Sink, plan: Plan, templates: Mapping[str, RowTemplate], clock: Callable[[int], int]
) -> Iterator[Filled]:
    """Append the rows of a plan; gives what was appended so far, after each few thousand.

    Raises:
        OverloadError: the store has had no room for a long time.
        TransientError: the disk failed.
    """
    filled = Filled()
    for sessions, batches in row_batches(plan, templates, clock):
        _append(store, batches)
        filled.sessions += sessions
        filled.spans += batches["spans"].num_rows if "spans" in batches else 0
        filled.logs += batches["log_events"].num_rows if "log_events" in batches else 0
        yield filled


def _append(store: Sink, batches: Mapping[str, pa.RecordBatch]) -> None:
    """Append rows, and wait for room as a sender would."""
    deadline_s = time.monotonic() + ROOM_S
    while True:
        try:
            store.append(batches)
        except OverloadError as error:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(error.retry_after_s)
        else:
            return
