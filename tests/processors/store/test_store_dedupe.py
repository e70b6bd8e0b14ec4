"""Nothing twice: within the window at write, past it in the views."""

import pytest

from headgate_processors.errors import TransientError
from headgate_processors.store import StoreReader
from headgate_processors.store.manifest import LiveFile, read_manifest
from headgate_processors.testing.disks import FaultyDisk
from headgate_processors.testing.rows import NOON_NS, batch, child, log, point, span

SECOND_NS = 10**9


def appended(store, dataset: str = "spans") -> tuple[int, int]:
    """Rows kept and rows dropped."""
    return store.counters.get(f"appended.{dataset}", 0), store.counters.get(f"duplicates.{dataset}", 0)


def one(*rows):
    """Rows to append: spans, each with two events, a link and a piece of content."""
    return {
        "spans": batch("spans", rows),
        "span_events": batch("span_events", [child(row, ordinal) for row in rows for ordinal in range(2)]),
        "span_links": batch("span_links", map(child, rows)),
        "content": batch("content", map(child, rows)),
    }


VIEWS = ("spans", "span_events", "span_links", "content")


@pytest.mark.parametrize("sealed", [False, True])
def test_a_resent_request_is_dropped_with_all_its_rows(open_store, ids, sealed) -> None:
    """What a client sends again, because our answer was lost, is counted and not stored."""
    store = open_store()
    store.append(one(span(1), span(2)))
    if sealed:
        store.seal()
    store.append(one(span(1, received_ns=NOON_NS + SECOND_NS), span(2, received_ns=NOON_NS + SECOND_NS)))

    assert [2, 4, 2, 2] == [len(ids(view)) for view in VIEWS]
    assert [(2, 2), (4, 4), (2, 2), (2, 2)] == [appended(store, view) for view in VIEWS]


def test_only_the_repeats_of_a_batch_are_dropped(open_store, ids) -> None:
    """A batch of old and new records keeps the new ones and their children."""
    store = open_store()
    store.append(one(span(1)))
    store.append(one(span(1), span(2)))

    assert [2, 4, 2, 2] == [len(ids(view)) for view in VIEWS]


def test_a_record_twice_in_one_batch_is_one(open_store, ids) -> None:
    """The first of two equal records stays, with its children once."""
    store = open_store()
    store.append(one(span(1), span(1), span(2)))

    assert [2, 4, 2, 2] == [len(ids(view)) for view in VIEWS]
    assert (2, 1) == appended(store)


@pytest.mark.parametrize(("dataset", "row"), [("log_events", log(1)), ("metric_points", point(1))])
def test_logs_and_points_are_deduplicated_too(open_store, ids, dataset, row) -> None:
    """Every kind of record has its window."""
    store = open_store()
    for _ in range(2):
        store.append({dataset: batch(dataset, [row])})

    assert (1, 1) == appended(store, dataset)
    assert 1 == len(ids(dataset))


def name_and_events(folder) -> tuple[list[str], int]:
    """The names of all spans, and how many events there are."""
    reader = StoreReader(folder)
    names = reader.query("SELECT name FROM spans").column("name").to_pylist()
    return names, reader.query("SELECT * FROM span_events").num_rows


@pytest.mark.parametrize("order", ["open first", "ended first", "one batch", "one batch, ended first"])
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("window", [1, 1000])
def test_of_two_versions_the_ended_one_wins(tmp_path, open_store, order, sealed, window) -> None:
    """An unended version is replaced by the ended one in any order of arrival, with its children."""
    open_ = {"spans": span(1, ended=False, name="open", received_ns=NOON_NS + 5), "events": 1}
    ended = {"spans": span(1, name="ended", received_ns=NOON_NS + 9), "events": 3}
    store = open_store(dedupe_rows_max=window)
    versions = [open_, ended] if "ended first" not in order else [ended, open_]
    groups = [versions] if "batch" in order else [[version] for version in versions]
    for group in groups:
        store.append(
            {
                "spans": batch("spans", [version["spans"] for version in group]),
                "span_events": batch(
                    "span_events", [child(v["spans"], ordinal) for v in group for ordinal in range(v["events"])]
                ),
            }
        )
        if sealed:
            store.seal()

    names, events = name_and_events(tmp_path)
    assert ["ended"] == names
    if "batch" not in order:
        assert 3 == events


@pytest.mark.parametrize("sealed", [(False, False), (True, False), (True, True)])
def test_a_repeat_past_the_window_is_hidden_by_the_views(tmp_path, open_store, ids, sealed) -> None:
    """The first version received is shown, with its own children, however the second came to be stored."""
    store = open_store(dedupe_rows_max=2)
    store.append(one(span(1, name="first")))
    store.append(one(*(span(number) for number in range(10, 20))))
    if sealed[0]:
        store.seal()
    store.append(one(span(1, name="second", received_ns=NOON_NS + SECOND_NS)))
    if sealed[1]:
        store.seal()

    assert (12, 0) == appended(store)
    assert [11, 22, 11, 11] == [len(ids(view)) for view in VIEWS]
    assert "second" not in name_and_events(tmp_path)[0]


def test_two_writers_that_got_the_same_record_show_it_once(open_store, ids) -> None:
    """A client that turned to a second receiver is no double, even with the same time of receipt."""
    first, second = open_store(writer="one"), open_store(writer="two")
    first.append(one(span(1)))
    second.append(one(span(1)))
    assert [1, 2, 1, 1] == [len(ids(view)) for view in VIEWS]

    first.seal()
    assert [1, 2, 1, 1] == [len(ids(view)) for view in VIEWS]
    second.seal()
    assert [1, 2, 1, 1] == [len(ids(view)) for view in VIEWS]


def settled(folder) -> list[bool]:
    """Which sealed files of spans are settled, in order of sealing."""
    return [file.settled for file in sorted(read_manifest(folder).of("spans"), key=lambda file: file.path)]


def by_writer(folder) -> dict[str, list[LiveFile]]:
    """The sealed files of spans of each writer, in order of sealing."""
    found: dict[str, list[LiveFile]] = {}
    for file in sorted(read_manifest(folder).of("spans"), key=lambda file: file.path):
        found.setdefault(file.path.rpartition("/")[2].rpartition("-")[0], []).append(file)
    return found


def test_a_small_store_is_always_settled(tmp_path, open_store) -> None:
    """While the window holds every record of the store, late data needs no second look."""
    store = open_store()
    store.append(one(span(1, start_time_unix_nano=1, end_time_unix_nano=2)))
    store.close()
    again = open_store()
    again.append(one(span(2, start_time_unix_nano=1, end_time_unix_nano=2)))
    again.close()

    assert [True, True] == settled(tmp_path)


def test_live_data_stays_settled_past_the_window(tmp_path, open_store) -> None:
    """A record that happened after the window began cannot have been received before it."""
    store = open_store(dedupe_rows_max=4, resend_skew_s=5)
    for number in range(8):
        store.append(one(span(number, received_ns=NOON_NS + number * 60 * SECOND_NS)))
        store.seal()

    assert [True] * 8 == settled(tmp_path)


@pytest.mark.parametrize(
    "late",
    [
        {"end_time_unix_nano": NOON_NS - 3600 * SECOND_NS},
        {"end_time_unix_nano": NOON_NS + 86_400 * SECOND_NS},
        {"end_time_unix_nano": None, "start_time_unix_nano": 0},
    ],
    ids=["late", "clock ahead", "no time"],
)
def test_data_that_may_be_old_is_looked_at_again(tmp_path, open_store, late) -> None:
    """Past the window, a record that is late, of the future or without time may be a repeat."""
    store = open_store(dedupe_rows_max=2)
    for number in range(4):
        store.append(one(span(number, received_ns=NOON_NS + number * 60 * SECOND_NS)))
    store.seal()
    store.append(one(span(9, received_ns=NOON_NS + 300 * SECOND_NS) | late))
    store.seal()

    assert [True, False] == settled(tmp_path)


def test_beside_another_writer_nothing_is_taken_for_settled(tmp_path, open_store) -> None:
    """The other may have stored the same record; when it is gone for good, live data is settled again."""
    first = open_store(writer="a")
    with open_store(writer="b") as second:
        second.append(one(span(1)))
        first.append(one(span(2)))
        second.seal()
        first.seal()
    first.append(one(span(3)))
    first.seal()
    first.append(one(span(4, received_ns=4_102_444_800 * SECOND_NS)))
    first.seal()

    assert {"a": [False, False, True], "b": [False]} == {
        writer: [file.settled for file in files] for writer, files in by_writer(tmp_path).items()
    }


def test_a_write_that_failed_is_not_remembered(open_store, ids) -> None:
    """Only what is durable may swallow a resend."""
    disk = FaultyDisk()
    store = open_store(disk=disk)
    disk.failing = {"append"}
    with pytest.raises(TransientError):
        store.append(one(span(1)))
    disk.failing = ()
    store.append(one(span(1)))

    assert (1, 0) == appended(store)
    assert 1 == len(ids())
