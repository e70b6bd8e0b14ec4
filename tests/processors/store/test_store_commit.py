"""Group commit: acknowledged is durable, bounds are kept, a failing disk loses nothing that was acknowledged."""

import errno
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headgate_processors.errors import OverloadError, TooLargeError, TransientError
from headgate_processors.store import Appended
from headgate_processors.store.disk import LocalDisk
from headgate_processors.testing.disks import FaultyDisk
from headgate_processors.testing.rows import batch, child, log, point, span
from headgate_processors.testing.waiting import PATIENCE_S, wait_until


class SlowDisk(LocalDisk):
    """A disk whose sync waits until the test lets it go on."""

    def __init__(self) -> None:
        self.go_on, self.syncs, self.reached = threading.Event(), 0, threading.Event()

    def sync(self, fd: int) -> None:
        """Wait, then sync."""
        self.syncs += 1
        self.reached.set()
        self.go_on.wait(PATIENCE_S)
        super().sync(fd)


def spans(*numbers: int):
    """Rows to append: one span for each number."""
    return {"spans": batch("spans", [span(number) for number in numbers])}


def record_ids(*numbers: int) -> list[str]:
    """The record ids of these spans."""
    return [str(span(number)["record_id"]) for number in numbers]


def test_rows_of_every_dataset_are_visible_after_append(open_store, ids) -> None:
    """One append stores rows of several datasets, and queries see them before they are sealed."""
    one = span(1)
    open_store().append(
        {
            "spans": batch("spans", [one]),
            "span_events": batch("span_events", [child(one, 0), child(one, 1)]),
            "span_links": batch("span_links", [child(one)]),
            "content": batch("content", [child(one)]),
            "log_events": batch("log_events", [log(1)]),
            "metric_points": batch("metric_points", [point(1)]),
        }
    )

    views = ("spans", "span_events", "span_links", "content", "log_events", "metric_points")
    assert [1, 2, 1, 1, 1, 1] == [len(ids(view)) for view in views]


def test_an_append_of_no_rows_is_fine(open_store, ids) -> None:
    """An empty batch, or none at all, stores nothing and fails nothing."""
    store = open_store()
    store.append({"spans": batch("spans", [])})
    store.append({})

    assert [] == ids()


@pytest.mark.parametrize(
    "batches",
    [{"nonsense": batch("spans", [span(1)])}, {"log_events": batch("spans", [span(1)])}],
    ids=["unknown dataset", "other schema"],
)
def test_rows_that_follow_no_schema_are_refused(open_store, batches) -> None:
    """A batch that does not belong to its dataset is the caller's bug."""
    with pytest.raises(ValueError, match="do not follow its schema"):
        open_store().append(batches)


def test_many_threads_share_commits(open_store, ids) -> None:
    """What waits while one commit is being synced is written and synced together."""
    disk = SlowDisk()
    store = open_store(disk=disk)
    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(store.append, spans(0))
        assert disk.reached.wait(PATIENCE_S)
        rest = [pool.submit(store.append, spans(number)) for number in range(1, 20)]
        wait_until(lambda: store.load.queued_requests == 19)
        disk.go_on.set()
        for future in [first, *rest]:
            future.result(PATIENCE_S)

    assert 2 == disk.syncs
    assert sorted(record_ids(*range(20))) == ids()


def test_nothing_is_acknowledged_before_it_is_synced(open_store) -> None:
    """`append` waits for the disk."""
    disk = SlowDisk()
    store = open_store(disk=disk)
    done = threading.Event()
    thread = threading.Thread(target=lambda: (store.append(spans(1)), done.set()), daemon=True)
    thread.start()
    assert disk.reached.wait(PATIENCE_S)
    assert not done.is_set()
    disk.go_on.set()
    thread.join(PATIENCE_S)
    assert done.is_set()


def test_a_full_queue_refuses_more(open_store) -> None:
    """Past the bound of requests the answer is an overload with a time to come back."""
    disk = SlowDisk()
    store = open_store(disk=disk, queue_requests_max=1, retry_after_s=7.0)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.append, spans(1))
        assert disk.reached.wait(PATIENCE_S)
        second = pool.submit(store.append, spans(2))
        wait_until(lambda: store.load.queued_requests == 1)
        with pytest.raises(OverloadError, match="queue is full") as refused:
            store.append(spans(3))
        disk.go_on.set()
        first.result(PATIENCE_S)
        second.result(PATIENCE_S)

    assert 7.0 == refused.value.retry_after_s
    assert 1 == store.counters["overloads"]


def test_too_much_unsealed_refuses_more_until_it_is_sealed(open_store, ids) -> None:
    """When sealing cannot keep up, senders are told to come back later; sealing makes room."""
    store = open_store(unsealed_bytes_max=60_000)
    stored: list[int] = []

    def append_on_and_on() -> None:
        for number in range(100):
            store.append(spans(number))
            stored.append(number)

    with pytest.raises(OverloadError, match="wait to be sealed"):
        append_on_and_on()

    store.seal()
    store.append(spans(100))

    assert len(stored) > 1
    assert sorted(record_ids(*stored, 100)) == ids()


def test_one_request_larger_than_the_store_takes_is_permanent(open_store) -> None:
    """A request that would never fit is not worth sending again."""
    with pytest.raises(TooLargeError, match="send smaller requests"):
        open_store(queue_bytes_max=10).append(spans(1))


def test_a_closing_store_asks_to_send_again(open_store) -> None:
    """After `close` nothing is taken, and the sender may try the next start."""
    store = open_store()
    store.close()
    with pytest.raises(TransientError, match="closing"):
        store.append(spans(1))


@pytest.mark.parametrize(
    ("error", "raised"), [(errno.ENOSPC, OverloadError), (errno.EDQUOT, OverloadError), (errno.EIO, TransientError)]
)
@pytest.mark.parametrize("operation", ["append", "sync", "sync_folder"])
def test_a_failing_disk_acknowledges_nothing_and_loses_nothing(open_store, ids, operation, error, raised) -> None:
    """The failed request leaves no trace, what was acknowledged stays, and the store goes on when the disk does."""
    disk = FaultyDisk(error=error)
    store = open_store(disk=disk)
    if operation != "sync_folder":
        store.append(spans(1))
    disk.failing = {operation}
    with pytest.raises(raised):
        store.append(spans(2))
    disk.failing = ()
    store.append(spans(2))
    store.append(spans(3))

    expected = sorted(record_ids(2, 3) if operation == "sync_folder" else record_ids(1, 2, 3))
    assert expected == ids()
    assert "duplicates.spans" not in store.counters
    store.seal()
    assert expected == ids()


def test_a_frame_that_cannot_be_cut_back_is_no_double(open_store, ids) -> None:
    """Even when the failed commit stays on disk, its resend is one row."""
    disk = FaultyDisk()
    store = open_store(disk=disk)
    disk.failing = {"sync", "truncate"}
    with pytest.raises(TransientError):
        store.append(spans(1))
    disk.failing = ()
    store.append(spans(1))

    assert record_ids(1) == ids()
    store.seal()
    assert record_ids(1) == ids()


def test_a_stuck_disk_ends_the_wait(open_store) -> None:
    """A commit that takes too long is a transient failure, not a hanging sender."""
    disk = SlowDisk()
    store = open_store(disk=disk, commit_timeout_s=0.01)
    with pytest.raises(TransientError, match="slow or stuck"):
        store.append(spans(1))
    disk.go_on.set()


def test_counters_tell_rows_and_commits(open_store) -> None:
    """What was appended, what was a repeat, and how many commits it took."""
    store = open_store()
    store.append(spans(1, 2))
    store.append(spans(2))
    store.seal()

    expected = {"appended.spans": 2, "duplicates.spans": 1, "commits": 2, "sealed_segments": 1}
    assert expected == store.counters


def test_each_request_is_told_of_its_own_repeats(open_store) -> None:
    """Requests that are committed together learn what became of their own records, children not counted."""
    disk = SlowDisk()
    store = open_store(disk=disk)
    requests = [spans(1, 2), {**spans(2, 3, 4), "span_events": batch("span_events", [child(span(3))])}, spans(4, 4, 2)]
    with ThreadPoolExecutor() as pool:
        first = pool.submit(store.append, spans(0))
        assert disk.reached.wait(PATIENCE_S)
        others = []
        for number, request in enumerate(requests, start=1):
            others.append(pool.submit(store.append, request))
            wait_until(lambda number=number: store.load.queued_requests == number)
        disk.go_on.set()

        assert Appended(stored=1, duplicates=0) == first.result()
        assert [
            Appended(stored=2, duplicates=0),
            Appended(stored=2, duplicates=1),
            Appended(stored=0, duplicates=3),
        ] == [other.result() for other in others]
    again = {**spans(3), "log_events": batch("log_events", [log(1)]), "span_links": batch("span_links", [])}
    assert Appended(stored=1, duplicates=1) == store.append(again)
