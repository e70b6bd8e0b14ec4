"""The window of recent records: what a client sends again, because it missed our answer, is dropped here."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from headgate_processors.store.repeats import CHILD_KEYS, RECORDS

BEGINNING = -(2**63)

_EVENT_TIME = {"spans": ("end_time_unix_nano", "start_time_unix_nano")}


class Window:
    """The last records of one dataset, between half of `rows_max` and `rows_max` of them.

    `since_unix_nano` is when the oldest of them was received: `BEGINNING` while the window holds the whole store.
    """

    def __init__(self, rows_max: int) -> None:
        self._half = max(rows_max // 2, 1)
        self._young: tuple[set[str], set[str]] = (set(), set())
        self._old: tuple[set[str], set[str]] = (set(), set())
        self._young_since = BEGINNING
        self._latest_ns = BEGINNING
        self.since_unix_nano = BEGINNING

    def ended_known(self, ids: AbstractSet[str]) -> set[str]:
        """Those of `ids` of which a version with an end was seen."""
        return {*(ids & self._young[0]), *(ids & self._old[0])}

    def open_known(self, ids: AbstractSet[str]) -> set[str]:
        """Those of `ids` of which a version without an end was seen."""
        return {*(ids & self._young[1]), *(ids & self._old[1])}

    def add(self, *, ended: AbstractSet[str], open_: AbstractSet[str], received_unix_nano: int) -> None:
        """Remember records that are durable."""
        self._young[0].update(ended)
        self._young[1].update(open_)
        self._latest_ns = max(self._latest_ns, received_unix_nano)
        if len(self._young[0]) + len(self._young[1]) >= self._half:
            self._old, self._young = self._young, (set(), set())
            self.since_unix_nano = max(self.since_unix_nano, self._young_since)
            self._young_since = max(self._young_since, self._latest_ns)

    def forget_before(self, now_unix_nano: int) -> None:
        """State that the store may hold records from before this moment that are unknown here."""
        self.since_unix_nano = self._young_since = now_unix_nano


@dataclass(slots=True, kw_only=True)
class _Fresh:
    """What a commit would add to one window, and what it leaves out: ids, and numbers of rows."""

    ended: set[str]
    open_: set[str]
    dropped: set[str]
    dropped_numbers: Sequence[int] = ()
    received_unix_nano: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """The rows to write, the rows dropped by dataset, and what `Windows.accept` has to remember."""

    batches: Mapping[str, pa.RecordBatch]
    unsettled: frozenset[str]
    dropped_rows: Mapping[str, int]
    fresh: Mapping[str, _Fresh]

    @property
    def dropped_numbers(self) -> Mapping[str, Sequence[int]]:
        """The numbers of the rows that were left out of each dataset of records, ascending."""
        return {dataset: fresh.dropped_numbers for dataset, fresh in self.fresh.items()}


class Windows:
    """One window per dataset of records. Not safe for threads: the committer owns it.

    While the writer is not `alone` in its folder, no commit is settled.
    """

    def __init__(self, *, rows_max: int, skew_ns: int) -> None:
        self.alone = True
        self._skew_ns = skew_ns
        self.by_dataset = {dataset: Window(rows_max) for dataset in RECORDS}

    def screen(self, batches: Mapping[str, pa.RecordBatch]) -> Screened:
        """Leave out what was seen before. Nothing is remembered until `accept`, for the write may fail."""
        kept: dict[str, pa.RecordBatch] = {}
        fresh: dict[str, _Fresh] = {}
        unsettled: set[str] = set()
        for dataset in RECORDS:
            if dataset in batches:
                kept[dataset], fresh[dataset], settled = self._records(dataset, batches[dataset])
                if not settled:
                    unsettled.add(dataset)
        dropped = {record_id for one in fresh.values() for record_id in one.dropped}
        stored = (
            {record_id for one in fresh.values() for record_id in (one.ended | one.open_) & dropped}
            if dropped
            else set()
        )
        for dataset, batch in batches.items():
            if dataset in CHILD_KEYS:
                kept[dataset] = _children(dataset, batch, dropped=dropped, stored=stored) if dropped else batch
        counts = {dataset: batches[dataset].num_rows - batch.num_rows for dataset, batch in kept.items()}
        return Screened(
            batches={dataset: batch for dataset, batch in kept.items() if batch.num_rows},
            unsettled=frozenset(unsettled),
            dropped_rows={dataset: count for dataset, count in counts.items() if count},
            fresh=fresh,
        )

    def accept(self, screened: Screened) -> None:
        """Remember what was written."""
        for dataset, fresh in screened.fresh.items():
            self.by_dataset[dataset].add(
                ended=fresh.ended, open_=fresh.open_, received_unix_nano=fresh.received_unix_nano
            )

    def forget_before(self, now_unix_nano: int) -> None:
        """State that the store may hold records from before this moment that no window knows."""
        for window in self.by_dataset.values():
            window.forget_before(now_unix_nano)

    def _records(self, dataset: str, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, _Fresh, bool]:
        window = self.by_dataset[dataset]
        ids = batch.column("record_id").to_pylist()
        received = pc.max(batch.column("received_unix_nano")).as_py() or 0
        if not _has_open(dataset, batch):
            unique = set(ids)
            known_open = window.open_known(unique)
            if len(unique) == len(ids) and not window.ended_known(unique):
                fresh = _Fresh(ended=unique, open_=set(), dropped=set(), received_unix_nano=received)
                return batch, fresh, not known_open and self._is_covered(dataset, batch, window)
        fresh, rows = _choose(window, ids, _is_open(dataset, batch))
        fresh.received_unix_nano = received
        kept = batch.take(pa.array(rows, pa.int64())) if len(rows) < len(ids) else batch
        superseding = window.open_known(fresh.ended)
        return kept, fresh, not superseding and self._is_covered(dataset, kept, window)

    def _is_covered(self, dataset: str, batch: pa.RecordBatch, window: Window) -> bool:
        """Whether an earlier version of any of these rows would be in the window.

        A record cannot have been received before it happened. So a window that reaches back past that moment,
        and past the error of the sender's clock, would hold it.
        """
        if not self.alone:
            return False
        if window.since_unix_nano == BEGINNING or not batch.num_rows:
            return True
        times = [pc.cast(batch.column(name), pa.int64()) for name in _EVENT_TIME.get(dataset, ("time_unix_nano",))]
        happened = pc.coalesce(*times)
        earliest: int = pc.min(happened).as_py()
        ahead: int = pc.max(pc.subtract(happened, batch.column("received_unix_nano"))).as_py()
        return earliest - self._skew_ns >= window.since_unix_nano and ahead <= self._skew_ns


def _has_open(dataset: str, batch: pa.RecordBatch) -> bool:
    return dataset == "spans" and batch.column("end_time_unix_nano").null_count > 0


def _is_open(dataset: str, batch: pa.RecordBatch) -> list[bool]:
    if not _has_open(dataset, batch):
        return [False] * batch.num_rows
    return list(batch.column("end_time_unix_nano").is_null().to_pylist())


def _choose(window: Window, ids: list[str], is_open: list[bool]) -> tuple[_Fresh, list[int]]:
    """The rows to keep: of each record the first version with an end, else the first without, unless known."""
    every = set(ids)
    ended_known, open_known = window.ended_known(every), window.open_known(every)
    best: dict[str, int] = {}
    for row, (record_id, unended) in enumerate(zip(ids, is_open, strict=True)):
        if record_id in ended_known or (unended and record_id in open_known):
            continue
        held = best.get(record_id)
        if held is None or (is_open[held] and not unended):
            best[record_id] = row
    rows = sorted(best.values())
    kept = set(rows)
    fresh = _Fresh(
        ended={ids[row] for row in rows if not is_open[row]},
        open_={ids[row] for row in rows if is_open[row]},
        dropped={record_id for row, record_id in enumerate(ids) if row not in kept},
        dropped_numbers=[row for row in range(len(ids)) if row not in kept],
    )
    return fresh, rows


def _children(dataset: str, batch: pa.RecordBatch, *, dropped: set[str], stored: set[str]) -> pa.RecordBatch:
    """Rows whose record is stored; where a commit held a record twice, each of its children once."""
    names = ("record_id", *CHILD_KEYS[dataset])
    keys = list(zip(*(batch.column(name).to_pylist() for name in names), strict=True))
    seen: set[tuple[object, ...]] = set()
    rows = []
    for row, key in enumerate(keys):
        if key[0] in stored:
            if key in seen:
                continue
            seen.add(key)
        elif key[0] in dropped:
            continue
        rows.append(row)
    return batch.take(pa.array(rows, pa.int64())) if len(rows) < len(keys) else batch
