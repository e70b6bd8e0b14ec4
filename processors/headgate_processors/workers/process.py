"""The receiver's side of one decode worker: start it, give it requests, notice how it ended."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from headgate_processors.memory import SPARING
from headgate_processors.workers.build import PreparerConfig
from headgate_processors.workers.frames import (
    FrameError,
    read_prepared,
    receive,
    request_frame,
    send,
    unpacked_error,
)
from headgate_processors.workers.port import ExportRequest, Prepared

_CHILD = "headgate_processors.workers.child"
_END_S = 2.0
_ENVIRONMENT = {**SPARING, "OMP_NUM_THREADS": "1"}
_STARVED_SHARE = 0.1

Cause = Literal["died", "hung", "starved", "killed"]


class WorkerDied(Exception):  # noqa: N818 - an end, not an error
    """A worker ended while it had requests: by itself, because it took too long, or by a signal from outside.

    One that took too long and was hardly given the CPU is `starved`: stopped, or on a machine that is.
    """

    def __init__(self, how: str, cause: Cause) -> None:
        super().__init__(how)
        self.cause = cause


class Worker:
    """One worker process. Only one thread may call `prepare` at a time; any may call `kill`."""

    def __init__(self, config: PreparerConfig, *, memory_max_bytes: int, nice: int) -> None:
        """Start the process; `wait_ready` says whether it works.

        The thread that calls this must live as long as the worker may: the kernel ends the worker with it.
        """
        self._socket, theirs = socket.socketpair()
        self._ended_by_us = False
        self._began_s = self._began_cpu_s = 0.0
        self._was_starved = False
        self.rss_bytes = 0
        self.cpu_ns = 0
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-P", "-m", _CHILD, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=os.environ | _ENVIRONMENT,
            )
        _set_nice(self._process.pid, nice)
        settings = {"preparer": config.written(), "memory_max_bytes": memory_max_bytes}
        try:
            send(self._socket, settings)
        except OSError:
            self.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Return when it takes requests.

        Raises:
            ConfigError: a rule file is wrong, in the words that this process would use.
            WorkerDied: it ended.
        """
        head = self._received()[0]
        if "error" in head:
            raise unpacked_error(head)
        self.rss_bytes = head["rss_bytes"]

    def prepare(self, requests: Sequence[ExportRequest]) -> Prepared:
        """The rows of a group of requests.

        Raises:
            WorkerDied: it ended before it answered.
        """
        self._began_s, self._began_cpu_s = time.monotonic(), _cpu_s(self.pid)
        try:
            send(self._socket, *request_frame(requests))
        except OSError as error:
            raise self._death() from error
        head, content = self._received()
        try:
            self.rss_bytes = head["rss_bytes"]
            self.cpu_ns += head["cpu_ns"]
            return read_prepared(head, content)
        except (ValueError, KeyError, TypeError) as error:
            # Arrow's own errors are ValueErrors. Whoever answers nonsense once is not asked again.
            self._process.kill()
            self._process.wait()
            raise WorkerDied(f"answered what is no answer ({error})", "died") from error

    def kill(self) -> None:
        """End it at once, because it takes too long; whoever waits for it hears that it died."""
        used_s = _cpu_s(self.pid) - self._began_cpu_s
        self._was_starved = used_s < _STARVED_SHARE * (time.monotonic() - self._began_s)
        self._ended_by_us = True
        self._process.kill()

    def close(self) -> None:
        """Let it end, or make it; nothing of it is left afterwards."""
        self._socket.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _received(self) -> tuple[Mapping[str, Any], memoryview]:
        try:
            frame = receive(self._socket)
        except (OSError, FrameError, ValueError) as error:
            raise self._death() from error
        if frame is None:
            raise self._death()
        return frame

    def _death(self) -> WorkerDied:
        """How it ended; a process that only closed its socket is ended here."""
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if self._ended_by_us and self._was_starved:
            return WorkerDied("was not given the CPU and was ended", "starved")
        if self._ended_by_us:
            return WorkerDied("took too long and was ended", "hung")
        if code >= 0:
            return WorkerDied(f"ended with code {code}", "died")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return WorkerDied(f"was ended by {name}", "killed" if -code == signal.SIGKILL else "died")


def _cpu_s(pid: int) -> float:
    """The CPU time that a process has used; not a number where that cannot be told, or it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return math.nan
    return sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def _set_nice(pid: int, nice: int) -> None:
    if nice:
        try:
            os.setpriority(os.PRIO_PROCESS, pid, nice)
        except OSError:
            return
