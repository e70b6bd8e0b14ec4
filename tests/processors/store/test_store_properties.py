"""Whatever is appended, sealed, compacted and killed, in whatever order: every record once, the right version of it."""

import contextlib
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headgate_processors.errors import TransientError
from headgate_processors.store import CompactConfig, Store, StoreConfig, StoreReader, compact
from headgate_processors.testing.disks import OPERATIONS, FaultyDisk
from headgate_processors.testing.rows import NOON_NS, batch, child, span

NUMBERS = st.lists(st.tuples(st.integers(0, 11), st.booleans()), min_size=1, max_size=6)
WRITERS = st.sampled_from(["one", "two"])


class Life(RuleBasedStateMachine):
    """Two writers, a compactor and a failing disk over one folder, beside a dictionary that says what must be seen."""

    def __init__(self) -> None:
        super().__init__()
        self._place = tempfile.TemporaryDirectory()
        self.folder = Path(self._place.name)
        self.disks = {writer: FaultyDisk() for writer in ("one", "two")}
        self.stores: dict[str, Store] = {}
        self.ended: dict[str, bool] = {}
        self.maybe: set[str] = set()
        self.received_ns = NOON_NS

    @initialize(window=st.sampled_from([1, 4, 1000]), buckets=st.sampled_from([1, 3]))
    def begin(self, window: int, buckets: int) -> None:
        """Choose how small the window is, so that repeats get past it."""
        self.config = StoreConfig(
            seal_interval_s=3600,
            compact_interval_s=0,
            dedupe_rows_max=window,
            buckets=buckets,
            bucket_rows_min=2,
            lock_wait_s=0,
            peers_interval_s=0,
        )
        for writer in self.disks:
            self.open(writer)

    def open(self, writer: str) -> None:
        """Start a writer."""
        self.stores[writer] = Store.open(self.folder, writer=writer, config=self.config, disk=self.disks[writer])

    @rule(writer=WRITERS, numbers=NUMBERS, late=st.booleans())
    def append(self, writer: str, numbers: list[tuple[int, bool]], late: bool) -> None:
        """Store spans, ended or not, each with an event; some were seen before."""
        self.received_ns += 60 * 10**9
        long_ago = {"start_time_unix_nano": 0, "end_time_unix_nano": 1}
        spans = []
        for number, ended in numbers:
            row = span(number, trace=number % 4, ended=ended, received_ns=self.received_ns)
            spans.append({**row, **(long_ago if late else {}), **({} if ended else {"end_time_unix_nano": None})})
        rows = {"spans": batch("spans", spans), "span_events": batch("span_events", map(child, spans))}
        try:
            self.stores[writer].append(rows)
        except TransientError:
            self.maybe.update(str(row["record_id"]) for row in spans)
            return
        for row, (_, ended) in zip(spans, numbers, strict=True):
            record_id = str(row["record_id"])
            self.ended[record_id] = self.ended.get(record_id, False) or ended

    @rule(writer=WRITERS)
    def seal(self, writer: str) -> None:
        """Bring what was appended into Parquet, if the disk lets it."""
        try:
            self.stores[writer].seal()
        except OSError:
            assert self.disks[writer].failing

    @rule(full=st.booleans())
    def compact(self, full: bool) -> None:
        """Merge files, and delete what died."""
        compact(self.folder, config=CompactConfig(full=full, bucket_rows_min=2, grace_s=0, orphan_age_s=3600))

    @rule(writer=WRITERS)
    def kill(self, writer: str) -> None:
        """End a process without warning and start it again."""
        store = self.stores[writer]
        self.disks[writer].failing = OPERATIONS
        with contextlib.suppress(OSError):
            store.close()
        self.disks[writer].failing = ()
        self.open(writer)

    @rule(writer=WRITERS, operations=st.sets(st.sampled_from(sorted(OPERATIONS)), max_size=2))
    def break_disk(self, writer: str, operations: set[str]) -> None:
        """Let operations of a disk fail, or all succeed again."""
        self.disks[writer].failing = operations

    @invariant()
    def every_record_once(self) -> None:
        """What was acknowledged is shown once, ended if an ended version was acknowledged; nothing else is."""
        if not self.stores:
            return
        with StoreReader(self.folder).connect() as connection:
            spans: pa.Table = connection.sql(
                "SELECT record_id, end_time IS NOT NULL AS ended FROM spans"
            ).to_arrow_table()
            events = connection.sql("SELECT record_id FROM span_events").to_arrow_table()
        shown = spans.column("record_id").to_pylist()
        assert len(set(shown)) == len(shown)
        assert set(self.ended) <= set(shown) <= set(self.ended) | self.maybe
        assert sorted(shown) == sorted(events.column("record_id").to_pylist())
        for record_id, ended in zip(shown, spans.column("ended").to_pylist(), strict=True):
            if record_id not in self.maybe:
                assert self.ended[record_id] == ended

    def teardown(self) -> None:
        """End the processes."""
        for writer, store in self.stores.items():
            self.disks[writer].failing = ()
            store.close()
        self._place.cleanup()


class TestLife(Life.TestCase):  # type: ignore[misc]
    """A few lives, for every run of the tests."""

    settings = settings(max_examples=3, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
class TestManyLives(Life.TestCase):  # type: ignore[misc]
    """Many long lives."""

    settings = settings(max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
