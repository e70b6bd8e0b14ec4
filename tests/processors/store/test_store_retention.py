"""Retention: whole days expire when they are over for longer than their rows are kept."""

import pyarrow as pa

from headgate_processors.store import CompactConfig, DerivedWriter, StoreReader, compact
from headgate_processors.store.layout import DAY_NS
from headgate_processors.store.manifest import read_manifest
from headgate_processors.store.retention import Retention
from headgate_processors.testing.rows import NOON_NS, batch, child, log, point, span


def everything(number: int, received_ns: int):
    """One row of each kind."""
    one = span(number, trace=number, received_ns=received_ns)
    return {
        "spans": batch("spans", [one]),
        "span_events": batch("span_events", [child(one)]),
        "content": batch("content", [child(one)]),
        "log_events": batch("log_events", [log(number, received_ns=received_ns)]),
        "metric_points": batch("metric_points", [point(number, received_ns=received_ns)]),
    }


def counts(folder) -> dict[str, int]:
    """Rows of each view."""
    with StoreReader(folder).connect() as connection:
        views = ("spans", "span_events", "content", "log_events", "metric_points")
        return {view: connection.sql(f"SELECT count(*) FROM {view}").fetchall()[0][0] for view in views}


def test_days_expire_whole_each_kind_in_its_own_time(tmp_path, open_store) -> None:
    """Content goes before spans; a day stays until its last row is old enough; the bytes go after the grace."""
    store = open_store()
    for day in range(4):
        store.append(everything(day, NOON_NS + day * DAY_NS))
        store.seal()
    paths = [tmp_path / file.path for file in read_manifest(tmp_path).of("content")]
    config = CompactConfig(retention=Retention(content_days=1, spans_days=2, logs_days=9, metrics_days=3), grace_s=0)

    report = compact(tmp_path, config=config, clock=lambda: NOON_NS + 4 * DAY_NS)

    expected = {"spans": 2, "span_events": 2, "content": 1, "log_events": 4, "metric_points": 3}
    assert expected == counts(tmp_path)
    assert 2 + 2 + 3 + 1 == report.expired_rows
    assert 0 == report.dropped_rows
    assert [False, False, False, True] == [path.exists() for path in sorted(paths)]


def test_nothing_expires_unless_it_is_said(tmp_path, open_store) -> None:
    """The library keeps everything; the settings decide otherwise."""
    open_store().append(everything(1, 0))
    compact(tmp_path, clock=lambda: NOON_NS)

    assert {1} == set(counts(tmp_path).values())


def test_derived_rows_expire_by_when_they_were_derived(tmp_path, open_store) -> None:
    """A session that nobody derived again for longer than retention keeps is gone, others stay."""
    open_store()
    now = NOON_NS
    writer = DerivedWriter(tmp_path, clock=lambda: now)
    for day, session in ((0, "old"), (5, "young")):
        now = NOON_NS + day * DAY_NS
        writer.write({"sessions": pa.table({"session_id": [session], "revision": pa.array([1], pa.int64())})})
    config = CompactConfig(full=False, retention=Retention(derived_days=3), grace_s=0)

    for _ in range(2):
        compact(tmp_path, config=config, clock=lambda: NOON_NS + 6 * DAY_NS)

    assert ["young"] == StoreReader(tmp_path).query("SELECT session_id FROM sessions").column(0).to_pylist()
    assert 1 == sum(file.rows for file in read_manifest(tmp_path).files)


def test_set_aside_files_expire_too(tmp_path, open_store) -> None:
    """What was damaged holds the same rows, and is kept no longer."""
    open_store()
    kept = tmp_path / "damaged" / "content" / "day=2025-11-25" / "bucket=all" / "w-1.parquet"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"half")
    changed_ns = int(kept.stat().st_mtime * 1e9)
    config = CompactConfig(retention=Retention(content_days=1))

    compact(tmp_path, config=config, clock=lambda: changed_ns + DAY_NS)
    assert kept.exists()
    compact(tmp_path, config=config, clock=lambda: changed_ns + 3 * DAY_NS)
    assert not kept.exists()
