"""Where the tasks of a job run: in this process, or in a pool of processes that may die.

A task is a picklable callable that takes the context, which every process makes once for itself. Another runner
(Ray, Spark) needs `run` alone; results come in any order, so the tasks must not depend on each other.
"""

import logging
import multiprocessing
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol, TypeVar

from headgate_processors.errors import HeadgateError

_C = TypeVar("_C")
_R = TypeVar("_R")

DEATHS_MAX = 3
_JOIN_S = 5.0

_LOG = logging.getLogger(__name__)

Task = Callable[[_C], _R]


class WorkerDiedError(HeadgateError):
    """A task ended every process that tried it."""


class Runner(Protocol):
    """Runs tasks."""

    def run(self, make_context: Callable[[], _C], tasks: Sequence[Task[_C, _R]]) -> Iterator[_R]:
        """The results of all tasks, each as soon as it is there.

        Raises:
            WorkerDiedError: a task killed several processes.
            Exception: the first that a task raised; the others are given up.
        """
        ...


@dataclass(frozen=True, slots=True)
class InProcess:
    """Runs one task after the other, here."""

    def run(self, make_context: Callable[[], _C], tasks: Sequence[Task[_C, _R]]) -> Iterator[_R]:
        """As `Runner.run`; nobody dies alone."""
        if not tasks:
            return
        context = make_context()
        for task in tasks:
            yield task(context)


@dataclass(slots=True, eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPool:
    """Runs tasks in `workers` spawned processes; one that dies is replaced and its task tried again.

    A process holds one task at a time, so that it is known which task it died of.
    """

    workers: int

    def run(self, make_context: Callable[[], _C], tasks: Sequence[Task[_C, _R]]) -> Iterator[_R]:
        """As `Runner.run`."""
        waiting = deque(range(len(tasks)))
        deaths = [0] * len(tasks)
        team = [_started(make_context) for _ in range(min(self.workers, len(tasks)))]
        try:
            while waiting or any(one.task is not None for one in team):
                for one in team:
                    if one.task is None and waiting:
                        one.task = waiting.popleft()
                        _send(one, tasks[one.task])
                for pipe in wait([one.pipe for one in team if one.task is not None]):
                    one = next(one for one in team if one.pipe is pipe)
                    try:
                        good, result = one.pipe.recv()
                    except (EOFError, OSError):
                        number = one.task
                        assert number is not None
                        deaths[number] += 1
                        _bury(one, tasks[number], deaths[number])
                        waiting.appendleft(number)
                        team[team.index(one)] = _started(make_context)
                        continue
                    one.task = None
                    if not good:
                        raise result
                    yield result
        finally:
            for one in team:
                one.pipe.close()
                one.process.terminate()
            for one in team:
                one.process.join(_JOIN_S)


def _started(make_context: Callable[[], object]) -> _Worker:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_work, args=(theirs, make_context), name="headgate-derive", daemon=True)
    process.start()
    theirs.close()
    return _Worker(process=process, pipe=ours)


def _send(worker: _Worker, task: object) -> None:
    # If it died between two tasks, reading from it will tell.
    with suppress(BrokenPipeError, ConnectionResetError):
        worker.pipe.send(task)


def _bury(worker: _Worker, task: object, deaths: int) -> None:
    worker.process.join(_JOIN_S)
    code = worker.process.exitcode
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    told = f"a process of the derivation ended with {how} at {task}"
    if deaths >= DEATHS_MAX:
        raise WorkerDiedError(
            f"{told}, {deaths} times: if that is the kernel's out-of-memory killer, run with fewer workers"
        )
    _LOG.warning("%s; trying again (%d of %d)", told, deaths + 1, DEATHS_MAX)


def _work(pipe: Connection, make_context: Callable[[], object]) -> None:
    """The life of a process of the pool: one task after the other, until the pipe is closed."""
    context = make_context()
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[bool, object] = (True, task(context))
        except Exception as error:  # noqa: BLE001 — the edge of the process: its caller is told
            answer = (False, _portable(error))
        pipe.send(answer)


def _portable(error: Exception) -> Exception:
    """The error itself, if it survives the way through a pipe."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 — our own object
    except Exception:  # noqa: BLE001 — whatever it is made of
        return HeadgateError(f"{type(error).__name__}: {error}")
    return error
