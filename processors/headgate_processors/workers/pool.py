"""A pool of decode workers: processes that may die, hang or grow without costing a request.

What ended a worker is found by trying its requests again, each alone. One that ends a worker again is poison:
it is refused for good, now and when it is sent again, or it would end workers for ever. A worker that was ended
from outside, or was not given the CPU, says little about its requests, so that takes more tries.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from headgate_processors.errors import HeadgateError, PoisonError, TransientError
from headgate_processors.receiver.stalls import StallWatch
from headgate_processors.workers.build import PreparerConfig
from headgate_processors.workers.local import joined
from headgate_processors.workers.port import ExportRequest, Prepared
from headgate_processors.workers.process import Cause, Worker, WorkerDied
from headgate_processors.workers.suspects import Suspects

_LOG = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.2
_CLOSING = "the receiver is closing: send again to the next start"
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """How many workers there are, and what each may take.

    `group_s`, `mebibyte_s`: how long a group of requests may take, and how much longer for each MiB of them; then
    its worker is ended. `wait_s`: for a worker that is free.
    `start_s`: for a worker to be ready. `recycle_bytes`: a worker that holds more memory between two groups is
    replaced; `memory_max_bytes`: what it can never pass, for then its allocations fail.
    `backoff_s`, `backoff_max_s`: between two starts of workers that end at once; it doubles.
    `deaths_max`: of workers that end by themselves or hang over one request; `kills_max`: of workers that are
    ended from outside or starved. `nice` is added to the workers' niceness, so that receiving goes before decoding.
    """

    workers: int = 2
    group_s: float = 30.0
    mebibyte_s: float = 4.0
    wait_s: float = 20.0
    start_s: float = 60.0
    recycle_bytes: int = 768 << 20
    memory_max_bytes: int = 4 << 30
    backoff_s: float = 0.1
    backoff_max_s: float = 10.0
    deaths_max: int = 2
    kills_max: int = 5
    nice: int = 1

    def deadline_s(self, requests: Sequence[ExportRequest]) -> float:
        """How long these requests may take together."""
        return self.group_s + self.mebibyte_s * sum(len(request.body) for request in requests) / _MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """What a pool does, and what it did since its start; `restarts` by cause: `died`, `killed`, `hung`,
    `starved`, `recycled`, and `unstarted` for one that ended before it was ready.
    """

    workers: int
    busy: int
    rss_bytes: int
    busy_s: float
    cpu_s: float
    restarts: dict[str, int]
    poisoned: int


class WorkerPool:
    """The `Preparer` whose work is done by processes. Start it before it is called, close it after."""

    def __init__(self, preparer: PreparerConfig, config: PoolConfig = PoolConfig()) -> None:
        self._preparer, self._config = preparer, config
        self._changed = threading.Condition()
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._suspects = Suspects(deaths_max=config.deaths_max, kills_max=config.kills_max)
        self._restarts: Counter[str] = Counter()
        self._poisoned = 0
        self._busy_s = self._cpu_s = 0.0
        self._closing = False
        self._deadlines = StallWatch(config.group_s)
        self._starts = StallWatch(config.start_s)
        self._failure: HeadgateError | None = None
        self._starting = 0
        self._backoff_s = self._not_before_s = 0.0
        self._started = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="headgate-workers", daemon=True)

    def start(self) -> None:
        """Start every worker; returns when all of them are ready.

        Raises:
            ConfigError: a rule file is wrong; nothing runs then.
            TransientError: the workers cannot be started.
        """
        self._deadlines.start()
        self._starts.start()
        self._keeper.start()
        self._started.wait()
        if self._failure is not None:
            self.close()
            raise self._failure

    def close(self) -> None:
        """End every worker; requests that are still with one are answered `TransientError`. Safe to call twice."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        self._keeper.join()
        for worker in list(self._workers):
            worker.kill()
            worker.close()
        self._workers.clear()
        self._deadlines.close()
        self._starts.close()

    @property
    def state(self) -> PoolState:
        """What goes on at this moment."""
        with self._changed:
            return PoolState(
                workers=len(self._workers),
                busy=len(self._workers) - len(self._idle),
                rss_bytes=sum(worker.rss_bytes for worker in self._workers),
                busy_s=self._busy_s,
                cpu_s=self._cpu_s,
                restarts=dict(self._restarts),
                poisoned=self._poisoned,
            )

    def prepare(self, requests: Sequence[ExportRequest]) -> Prepared:
        """As the port says.

        Raises:
            TransientError: no worker was free in time, or the pool is closing.
        """
        suspect = [self._suspects.knows(request) for request in requests]
        if not any(suspect):
            try:
                return self._tried(requests)
            except WorkerDied as death:
                _LOG.warning("a decode worker %s over %d requests; each is tried alone", death, len(requests))
                for request in requests:
                    self._suspects.blame(request, cause=death.cause)
        return self._one_by_one(requests)

    def _one_by_one(self, requests: Sequence[ExportRequest]) -> Prepared:
        """Each alone, until there is no worker to try one with: the others then wait for none either."""
        parts: list[Prepared] = []
        lack: HeadgateError | None = None
        for request in requests:
            part = self._alone(request) if lack is None else Prepared(batches={}, outcomes=[lack])
            lack = next((found for found in part.outcomes if isinstance(found, TransientError)), None)
            parts.append(part)
        return Prepared(
            batches=joined([part.batches for part in parts]),
            outcomes=[outcome for part in parts for outcome in part.outcomes],
        )

    def _alone(self, request: ExportRequest) -> Prepared:
        """The rows of a request that may have ended a worker; its error when nothing can be done with it."""
        while not self._suspects.is_poison(request):
            try:
                prepared = self._tried([request])
            except WorkerDied as death:
                self._suspects.blame(request, cause=death.cause)
                continue
            except TransientError as error:
                return Prepared(batches={}, outcomes=[error])
            self._suspects.acquit(request)
            return prepared
        return Prepared(batches={}, outcomes=[self._poison(request)])

    def _poison(self, request: ExportRequest) -> PoisonError:
        with self._changed:
            self._poisoned += 1
        _LOG.error("a %s request of %d bytes ends every decode worker: refused", request.signal, len(request.body))
        return PoisonError(
            f"reading this request of {len(request.body)} bytes ended the process that tried, again and again: "
            "it is refused for good, and kept among the dead letters"
        )

    def _tried(self, requests: Sequence[ExportRequest]) -> Prepared:
        worker = self._taken()
        began_s, cpu_ns = time.monotonic(), worker.cpu_ns
        cause: Cause | None = None
        try:
            with self._deadlines.watching(worker.kill, timeout_s=self._config.deadline_s(requests)):
                return worker.prepare(requests)
        except WorkerDied as death:
            if self._closing:
                raise TransientError(_CLOSING) from death
            cause = death.cause
            raise
        finally:
            with self._changed:
                self._busy_s += time.monotonic() - began_s
                self._cpu_s += (worker.cpu_ns - cpu_ns) / 1e9
            self._given_back(worker, cause)

    def _taken(self) -> Worker:
        """A free worker that runs; one that was ended while it had nothing to do is no request's fault."""
        deadline = time.monotonic() + self._config.wait_s
        with self._changed:
            while not self._closing:
                while self._idle:
                    worker = self._idle.pop()
                    if worker.is_running:
                        return worker
                    self._lost(worker, "killed")
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TransientError(
                        f"no decode worker was free within {self._config.wait_s:g} s; the log says why: send again"
                    )
                self._changed.wait(left_s)
        raise TransientError(_CLOSING)

    def _given_back(self, worker: Worker, cause: Cause | None) -> None:
        with self._changed:
            if cause is not None or not worker.is_running:
                self._lost(worker, cause or "died")
            elif worker.rss_bytes > self._config.recycle_bytes:
                _LOG.warning("a decode worker holds %d MiB of memory; it is replaced", worker.rss_bytes >> 20)
                self._lost(worker, "recycled")
            else:
                self._idle.append(worker)
            self._changed.notify_all()

    def _lost(self, worker: Worker, cause: str) -> None:
        """Forget a worker; the keeper starts another one. The lock is held."""
        self._restarts[cause] += 1
        self._workers.discard(worker)
        threading.Thread(target=worker.close, name="headgate-worker-end", daemon=True).start()
        self._changed.notify_all()

    def _keep(self) -> None:
        """Keep as many workers as there should be. Every worker is started by this thread, which outlives them."""
        while not self._closing:
            for _ in range(self._missing()):
                self._begin()
            self._look()

    def _begin(self) -> None:
        """Start one worker; a machine without room for another process is asked again later."""
        try:
            worker = Worker(self._preparer, memory_max_bytes=self._config.memory_max_bytes, nice=self._config.nice)
        except OSError as error:
            self._joined(None, TransientError(f"no process can be started for it: {error}"))
            return
        try:
            threading.Thread(target=self._admit, args=(worker,), name="headgate-worker-start", daemon=True).start()
        except RuntimeError as error:
            worker.kill()
            worker.close()
            self._joined(None, TransientError(f"no thread can be started for it: {error}"))

    def _missing(self) -> int:
        """How many workers are to be started now; they count as starting from here on."""
        with self._changed:
            if self._closing or time.monotonic() < self._not_before_s:
                return 0
            missing = self._config.workers - len(self._workers) - self._starting
            self._starting += missing
            return missing

    def _look(self) -> None:
        """Wait until a worker may be missing; one that ended while it had nothing to do is noticed here."""
        with self._changed:
            self._changed.wait(_LOOK_EVERY_S)
            for worker in [worker for worker in self._idle if not worker.is_running]:
                self._idle.remove(worker)
                self._lost(worker, "killed")

    def _admit(self, worker: Worker) -> None:
        """Have a worker join the others when it is ready."""
        failure: HeadgateError | None = None
        try:
            with self._starts.watching(worker.kill):
                worker.wait_ready()
        except HeadgateError as error:
            failure = error
        except WorkerDied as death:
            failure = TransientError(f"it {death} before it was ready")
        is_kept = self._joined(worker, failure)
        if not is_kept:
            worker.close()

    def _joined(self, worker: Worker | None, failure: HeadgateError | None) -> bool:
        """What became of a start; whether the worker is one of the pool."""
        with self._changed:
            self._starting -= 1
            is_kept = worker is not None and failure is None and not self._closing
            if worker is not None and is_kept:
                self._workers.add(worker)
                self._idle.append(worker)
                self._backoff_s = 0.0
            else:
                self._unstarted(failure)
            if failure is not None or len(self._workers) == self._config.workers:
                self._failure = self._failure if self._started.is_set() else failure
                self._started.set()
            self._changed.notify_all()
        return is_kept

    def _unstarted(self, failure: HeadgateError | None) -> None:
        """Wait longer before the next start, the more of them failed. The lock is held."""
        if failure is None:
            return
        self._restarts["unstarted"] += 1
        if self._started.is_set():
            _LOG.error("a decode worker cannot be started: %s", failure)
        self._backoff_s = min(max(2 * self._backoff_s, self._config.backoff_s), self._config.backoff_max_s)
        self._not_before_s = time.monotonic() + self._backoff_s
