"""Workers that die, hang, grow or are killed: what it costs, which is nothing that was sent."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count

import pytest

from headgate_processors.errors import PoisonError, TransientError
from headgate_processors.testing.requests import exported_spans
from headgate_processors.testing.waiting import wait_until
from headgate_processors.workers import ExportRequest, Outcome, PoolConfig, PreparerConfig, WorkerPool
from headgate_processors.workers.process import Worker

pytestmark = pytest.mark.slow

MEBIBYTE = 1 << 20
KILLS = PoolConfig().kills_max - 1
PoolMaker = Callable[[PoolConfig], WorkerPool]


@pytest.fixture
def made(rules: PreparerConfig) -> Iterator[PoolMaker]:
    """Makes pools that the test may harm."""
    pools: list[WorkerPool] = []

    def make(config: PoolConfig) -> WorkerPool:
        pool = WorkerPool(rules, config)
        pools.append(pool)
        pool.start()
        return pool

    yield make
    for pool in pools:
        pool.close()


def _names(pool: WorkerPool, *requests: ExportRequest) -> list[str]:
    return list(pool.prepare(requests).batches["spans"].column("name").to_pylist())


def _pids(pool: WorkerPool) -> list[int]:
    return [worker.pid for worker in pool._workers]


def test_a_worker_that_is_killed_while_idle_is_replaced(made: PoolMaker) -> None:
    """Nobody waits for the next request to notice."""
    pool = made(PoolConfig(workers=1))
    (before,) = _pids(pool)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: pool.state.restarts == {"killed": 1} and pool.state.workers == 1)
    assert [before] != _pids(pool)
    assert ["a"] == _names(pool, exported_spans("a"))


def test_a_process_without_files_for_a_worker_tries_until_it_has_them(made: PoolMaker) -> None:
    """Whoever replaces workers outlives a moment in which none can be started."""
    pool = made(PoolConfig(workers=1))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        for pid in _pids(pool):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pool.state.restarts.get("unstarted", 0) > 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert ["a"] == _names(pool, exported_spans("a"))


def test_a_pool_without_files_for_a_worker_does_not_start(made: PoolMaker) -> None:
    """It says why, and waits for nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(TransientError, match="no process can be started for it"):
            made(PoolConfig(workers=1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_requests_of_workers_that_are_killed_are_prepared_all_the_same(made: PoolMaker) -> None:
    """Under load, with workers killed again and again: each request has its rows, once."""
    pool = made(PoolConfig(workers=2))

    def kill() -> None:
        for kills in range(KILLS):
            wait_until(lambda: pool.state.workers == 2)
            os.kill(_pids(pool)[0], signal.SIGKILL)
            wait_until(lambda kills=kills: pool.state.restarts.get("killed", 0) > kills)

    with ThreadPoolExecutor(1) as killing:
        killed = killing.submit(kill)
        numbers = count()
        while not killed.done():
            names = [f"{next(numbers)}-{position}" for position in range(200)]
            assert names == _names(pool, exported_spans(*names[:100]), exported_spans(*names[100:], trace=2))
        killed.result()
    assert (KILLS, 0) == (pool.state.restarts["killed"], pool.state.poisoned)


def test_poison_is_refused_and_its_company_is_kept(made: PoolMaker) -> None:
    """A request that needs more memory than a worker may have ends two workers, then no more of them."""
    pool = made(PoolConfig(workers=1, memory_max_bytes=600 * MEBIBYTE))
    poison = exported_spans("x", "y", "z", "w", content_bytes=12 * MEBIBYTE)
    prepared = pool.prepare([exported_spans("a"), poison, exported_spans("b")])
    assert ["a", "b"] == prepared.batches["spans"].column("name").to_pylist()
    assert [Outcome, PoisonError, Outcome] == [type(outcome) for outcome in prepared.outcomes]
    ends = dict(pool.state.restarts)
    assert isinstance(pool.prepare([poison]).outcomes[0], PoisonError)
    assert (ends, 2) == (pool.state.restarts, pool.state.poisoned)
    assert {"died": 2} == ends


def test_a_worker_that_takes_too_long_is_ended(made: PoolMaker) -> None:
    """Twice over the same request is poison."""
    pool = made(PoolConfig(workers=1, group_s=0.0, mebibyte_s=0.02))
    slow = exported_spans(*map(str, range(40_000)))
    assert isinstance(pool.prepare([slow]).outcomes[0], PoisonError)
    ends = pool.state.restarts
    assert {"hung": 2} == ends or "starved" in ends, "unless the machine had no time for it at all"


class _Stopping(WorkerPool):
    """A pool whose first workers are stopped as soon as they are chosen for a group."""

    stops = 3

    def _taken(self) -> Worker:
        worker = super()._taken()
        if self.stops:
            self.stops -= 1
            os.kill(worker.pid, signal.SIGSTOP)
        return worker


def test_requests_of_workers_that_are_stopped_are_prepared_all_the_same(rules: PreparerConfig) -> None:
    """A worker that is not given the CPU takes too long, and its requests are no poison for that."""
    with closing(_Stopping(rules, PoolConfig(workers=1, group_s=3.0, mebibyte_s=0.0))) as pool:
        pool.start()
        assert ["a"] == _names(pool, exported_spans("a"))
        assert (0, 3) == (pool.state.poisoned, pool.state.restarts["starved"])


def test_a_worker_that_holds_much_memory_is_recycled(made: PoolMaker) -> None:
    """After its answer, so that it costs nobody anything."""
    pool = made(PoolConfig(workers=1, recycle_bytes=MEBIBYTE))
    assert ["a"] == _names(pool, exported_spans("a"))
    assert ["b"] == _names(pool, exported_spans("b"))
    assert pool.state.restarts["recycled"] >= 1


def test_without_a_worker_requests_are_to_be_sent_again(made: PoolMaker) -> None:
    """The wait for one is bounded."""
    pool = made(PoolConfig(workers=1, wait_s=0.05))
    with pool._changed:
        pool._idle.clear()
    with pytest.raises(TransientError, match="no decode worker was free within"):
        pool.prepare([exported_spans("a")])


def test_without_a_worker_a_group_under_suspicion_waits_once(made: PoolMaker) -> None:
    """Its requests are tried one by one, and each would else wait as long as one may."""
    pool = made(PoolConfig(workers=1, wait_s=0.5))
    requests = [exported_spans("a", trace=number) for number in range(1, 200)]
    pool._suspects.blame(requests[0], cause="died")
    with pool._changed:
        pool._idle.clear()
    outcomes = pool.prepare(requests).outcomes
    assert isinstance(outcomes[0], TransientError)
    assert {id(outcomes[0])} == {id(outcome) for outcome in outcomes}


def test_a_closed_pool_leaves_no_process(made: PoolMaker) -> None:
    """And says so to whoever asks."""
    pool = made(PoolConfig(workers=2))
    pids = _pids(pool)
    pool.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(TransientError, match="closing"):
        pool.prepare([exported_spans("a")])
