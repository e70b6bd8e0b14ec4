"""Requests that wait share one turn: the fixed cost of building rows is paid once for all of them.

There is no thread of its own. A caller that finds a free lane leads: it works on what waits, its own request
among it. Callers that find none wait until their result is there, or until they are told to lead.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headgate_processors.errors import OverloadError, TransientError
from headgate_processors.receiver.port import Accepted
from headgate_processors.workers.port import ExportRequest

Result = Accepted | BaseException
_OLD = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConfig:
    """How many groups are worked on at once, how large one gets, and how much may wait for a turn.

    A group has requests of one signal. A request larger than `group_bytes` is a group of its own.
    `queue_s`: what would wait longer than this, at the pace of late, is refused while its sender still listens: one
    that gives up first sends everything twice. `room_s`: how long a caller waits for room before it is refused.
    `wait_s` bounds the wait of one caller, its group's work included.
    """

    lanes: int = 1
    group_requests: int = 64
    group_bytes: int = 4 << 20
    queue_requests: int = 1024
    queue_bytes: int = 512 << 20
    queue_s: float = 5.0
    room_s: float = 2.0
    retry_after_s: float = 1.0
    wait_s: float = 600.0


class Work(Protocol):
    """What is done with a group. `pass_on` is called when the lane is free for the next group, at the latest on return.

    Gives one result per request; what it raises is the result of each.
    """

    def __call__(self, requests: Sequence[ExportRequest], pass_on: Callable[[], None]) -> Sequence[Result]:
        """Work on a group."""
        ...


@dataclass(slots=True, eq=False)
class _Caller:
    request: ExportRequest
    woken: threading.Event = field(default_factory=threading.Event)
    group: "Group | None" = None
    result: Result | None = None


Group = list[_Caller]


class Groups:
    """Hands requests to `work` in groups. Any number of threads may call it."""

    def __init__(
        self, work: Work, config: GroupConfig = GroupConfig(), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._work, self._config, self._clock = work, config, clock
        self._lane_bytes_s = 0.0
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._queue: deque[_Caller] = deque()
        self._queued_bytes = 0
        self._free_lanes = config.lanes

    @property
    def queued(self) -> tuple[int, int]:
        """Requests and bytes that wait for their turn."""
        with self._lock:
            return len(self._queue), self._queued_bytes

    def __call__(self, request: ExportRequest) -> Accepted:
        """Work on a request, alone or with others; returns when its result is there.

        Raises:
            OverloadError: as much waits as may.
            TransientError: it took too long.
        """
        caller = _Caller(request)
        with self._lock:
            self._admit(caller)
            if self._free_lanes:
                self._free_lanes -= 1
                caller.group = self._take()
                caller.woken.set()
        if not caller.woken.wait(self._config.wait_s):
            self._give_up(caller)
        if caller.group is not None:
            self._lead(caller.group)
        if isinstance(caller.result, BaseException):
            raise caller.result
        assert caller.result is not None
        return caller.result

    def _admit(self, caller: _Caller) -> None:
        """Put a caller into the queue, as soon as there is room. The lock is held, but for the wait.

        The wait is short, and costs its sender the time in which it would only ask again.
        """
        size = len(caller.request.body)
        if not self._room.wait_for(lambda: self._lack(size) is None, self._config.room_s):
            raise OverloadError(f"{self._lack(size)}: send again later", retry_after_s=self._config.retry_after_s)
        self._queue.append(caller)
        self._queued_bytes += size

    def _lack(self, size: int) -> str | None:
        """Why a request of this size cannot be queued at this moment; None when it can."""
        config, waiting = self._config, f"{len(self._queue)} requests of {self._queued_bytes} bytes wait"
        if len(self._queue) >= config.queue_requests or self._queued_bytes + size > config.queue_bytes:
            return f"{waiting} for a decode worker, as many as may"
        if self._queue and self._seconds_of(self._queued_bytes + size) > config.queue_s:
            return f"{waiting} for a decode worker, more than are worked on in {config.queue_s:g} s"
        return None

    def _take(self) -> Group:
        """What is worked on next, out of the queue: the oldest request, and those of its signal that fit beside it."""
        signal, size = self._queue[0].request.signal, 0
        group: Group = []
        left: deque[_Caller] = deque()
        for caller in self._queue:
            larger = size + len(caller.request.body)
            fits = not group or (larger <= self._config.group_bytes and len(group) < self._config.group_requests)
            if fits and caller.request.signal is signal:
                group.append(caller)
                size = larger
            else:
                left.append(caller)
        self._queue = left
        self._queued_bytes -= size
        self._room.notify_all()
        return group

    def _give_up(self, caller: _Caller) -> None:
        with self._lock:
            if caller.woken.is_set():
                return
            if caller in self._queue:
                self._queue.remove(caller)
                self._queued_bytes -= len(caller.request.body)
        raise TransientError(f"the request was not worked on within {self._config.wait_s:g} s: send it again")

    def _seconds_of(self, size: int) -> float:
        """How long so many bytes would wait at the pace of late; 0 while that is not known."""
        pace = self._lane_bytes_s * self._config.lanes
        return size / pace if pace else 0.0

    def _note_pace(self, group: Group, began_s: float) -> None:
        pace = sum(len(caller.request.body) for caller in group) / max(self._clock() - began_s, 1e-6)
        with self._lock:
            self._lane_bytes_s = pace if not self._lane_bytes_s else _OLD * self._lane_bytes_s + (1 - _OLD) * pace

    def _lead(self, group: Group) -> None:
        began_s = self._clock()
        lane = _Lane(lambda: self._note_pace(group, began_s), self._pass_on)
        results: Sequence[Result]
        try:
            results = self._work([caller.request for caller in group], lane.pass_on)
        except BaseException as error:  # noqa: BLE001 - those who wait are told, whatever it is
            results = [error] * len(group)
        finally:
            lane.pass_on()
        for caller, result in zip(group, results, strict=True):
            caller.result = result
            caller.woken.set()

    def _pass_on(self) -> None:
        """Let the next caller lead, or free the lane."""
        with self._lock:
            if not self._queue:
                self._free_lanes += 1
                return
            group = self._take()
            group[0].group = group
            group[0].woken.set()


class _Lane:
    """The right to work on a group, passed on once."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self._steps = steps

    def pass_on(self) -> None:
        steps, self._steps = self._steps, ()
        for step in steps:
            step()
