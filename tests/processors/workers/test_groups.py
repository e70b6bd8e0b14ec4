"""Who leads, who follows, and what bounds the wait."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from headgate_processors.errors import OverloadError, TransientError
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.port import Accepted
from headgate_processors.testing.requests import exported
from headgate_processors.testing.waiting import PATIENCE_S, wait_until
from headgate_processors.workers import ExportRequest, GroupConfig, Groups

DONE = Accepted(received=1, stored=1, rejected=0, message="")


class Held:
    """Work that is done when it is let go; remembers each group."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.go = threading.Event()

    def __call__(
        self, requests: Sequence[ExportRequest], pass_on: Callable[[], None]
    ) -> list[Accepted | BaseException]:
        """Wait, then fail what is bad."""
        self.groups.append([request.body for request in requests])
        assert self.go.wait(PATIENCE_S)
        pass_on()
        return [ValueError("bad") if request.body == b"bad" else DONE for request in requests]


def _queue(groups: Groups, pool: ThreadPoolExecutor, *requests: ExportRequest) -> list[object]:
    """Let one lead, then have the others wait in order."""
    futures = []
    for number, request in enumerate(requests):
        futures.append(pool.submit(groups, request))
        wait_until(lambda number=number: groups._free_lanes == 0 and groups.queued[0] == number)
    return futures


def test_what_waits_is_worked_on_together() -> None:
    """The first is alone, for nobody else was there; the others are one group, in order."""
    work = Held()
    groups = Groups(work)
    with ThreadPoolExecutor(4) as pool:
        futures = _queue(groups, pool, *map(exported, (b"1", b"2", b"3", b"4")))
        work.go.set()
        assert [DONE] * 4 == [future.result() for future in futures]
    assert [[b"1"], [b"2", b"3", b"4"]] == work.groups
    assert (0, 0) == groups.queued


def test_a_group_has_one_signal_and_a_bounded_size() -> None:
    """What does not fit beside the oldest request waits for another turn."""
    work = Held()
    groups = Groups(work, GroupConfig(group_bytes=4, group_requests=2))
    with ThreadPoolExecutor(8) as pool:
        waiting = [exported(b"aa"), exported(b"log", Signal.LOGS), exported(b"bbb"), exported(b"c"), exported(b"dd")]
        futures = _queue(groups, pool, exported(b"1"), *waiting)
        work.go.set()
        for future in futures:
            future.result()
    assert [[b"1"], [b"aa", b"c"], [b"log"], [b"bbb"], [b"dd"]] == work.groups


def test_each_request_has_its_own_result() -> None:
    """One that fails costs the others nothing."""
    work = Held()
    groups = Groups(work)
    with ThreadPoolExecutor(3) as pool:
        futures = _queue(groups, pool, *map(exported, (b"1", b"bad", b"3")))
        work.go.set()
        assert [DONE, DONE] == [futures[0].result(), futures[2].result()]
        with pytest.raises(ValueError, match="bad"):
            futures[1].result()


def test_work_that_fails_is_told_to_all_and_frees_the_lane() -> None:
    """The next request is worked on as if nothing had been."""
    answers = iter([TransientError("no worker")])

    def work(requests: Sequence[ExportRequest], pass_on: Callable[[], None]) -> list[Accepted | BaseException]:
        for answer in answers:
            raise answer
        return [DONE for _ in requests]

    groups = Groups(work)
    with pytest.raises(TransientError, match="no worker"):
        groups(exported(b"1"))
    assert DONE == groups(exported(b"2"))


def test_a_full_queue_refuses() -> None:
    """By requests and by bytes, with the time after which to send again."""
    work = Held()
    groups = Groups(work, GroupConfig(queue_requests=1, queue_bytes=2, room_s=0.01, retry_after_s=3.0))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(groups, exported(b"1"))
        wait_until(lambda: len(work.groups) == 1)
        with pytest.raises(OverloadError, match="0 requests of 0 bytes wait"):
            groups(exported(b"333"))
        second = pool.submit(groups, exported(b"2"))
        wait_until(lambda: groups.queued == (1, 1))
        with pytest.raises(OverloadError) as refused:
            groups(exported(b"3"))
        work.go.set()
        assert [DONE, DONE] == [first.result(), second.result()]
    assert 3.0 == refused.value.retry_after_s


def test_the_wait_is_bounded() -> None:
    """Whoever gave up is out of the queue."""
    work = Held()
    groups = Groups(work, GroupConfig(wait_s=0.05))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(groups, exported(b"1"))
        wait_until(lambda: len(work.groups) == 1)
        with pytest.raises(TransientError, match="not worked on within"):
            groups(exported(b"2"))
        assert (0, 0) == groups.queued
        work.go.set()
        assert DONE == first.result()
    assert [[b"1"]] == work.groups


def test_as_many_groups_as_lanes_are_worked_on_at_once() -> None:
    """One lane for each worker."""
    work = Held()
    groups = Groups(work, GroupConfig(lanes=2))
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(groups, exported(bytes([number]))) for number in range(3)]
        wait_until(lambda: groups.queued[0] == 1)
        assert 2 == len(work.groups)
        work.go.set()
        assert [DONE] * 3 == [future.result() for future in futures]


def test_what_would_wait_too_long_is_refused() -> None:
    """Measured by the pace of the groups before: a sender that gives up in the queue would send everything twice."""
    now = iter([0.0, 10.0, *[20.0] * 20])
    work = Held()
    groups = Groups(work, GroupConfig(queue_s=5.0, room_s=0.01), clock=lambda: next(now))
    work.go.set()
    assert DONE == groups(exported(b"ten bytes."))
    work.go.clear()
    with ThreadPoolExecutor(3) as pool:
        futures = _queue(groups, pool, exported(b"1"), exported(b"four"))
        with pytest.raises(
            OverloadError, match="1 requests of 4 bytes wait for a decode worker, more than are worked on in 5 s"
        ):
            groups(exported(b"22"))
        work.go.set()
        assert [DONE, DONE] == [future.result() for future in futures]


def test_a_caller_waits_for_room_before_it_is_refused() -> None:
    """A queue that is full for a moment costs nobody a refusal."""
    work = Held()
    groups = Groups(work, GroupConfig(queue_requests=1, room_s=PATIENCE_S))
    with ThreadPoolExecutor(3) as pool:
        futures = _queue(groups, pool, exported(b"1"), exported(b"2"))
        late = pool.submit(groups, exported(b"3"))
        work.go.set()
        assert [DONE] * 3 == [future.result() for future in (*futures, late)]


def test_a_receiver_lets_in_as_many_requests_as_fill_the_groups_of_two_workers() -> None:
    """Two groups are prepared while one is committed and one waits: small requests of many senders cost little then."""
    assert 4 * GroupConfig().group_requests <= ReceiverConfig().running
