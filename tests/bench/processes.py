"""What processes use: CPU seconds and resident memory of everything below one, sampled once a second."""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from headgate_processors.testing.processes import command_line, descendants

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PARTS = {
    "serve.receive": "receiver",
    "serve.control": "control and gateway",
    "serve.derive": "deriver",
    "workers.child": "decode workers",
    "store.compactor": "compactor",
    "multiprocessing.": "processes of the deriver",
    "headgate-collector": "Collector",
    "bench/sender.py": "sender",
    "headgate_console up": "supervisor",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """CPU seconds since the process began, and resident bytes now."""

    cpu_s: float
    rss_bytes: int


def used(pid: int) -> Used | None:
    """What a process has used; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Used(cpu_s=(int(stat[11]) + int(stat[12])) * _TICK_S, rss_bytes=int(stat[21]) * _PAGE_BYTES)


def below(root: int) -> list[int]:
    """A process and all that it started."""
    return [root, *descendants(root)]


def part_of(pid: int) -> str:
    """Which part of Headgate a process is."""
    command = command_line(pid)
    return next((name for mark, name in PARTS.items() if mark in command), command or "gone")


@dataclass(slots=True)
class Watch:
    """Samples the processes below some roots every second, from a thread of its own, as a context."""

    roots: list[int]
    cpu_s: dict[str, float] = field(default_factory=dict)
    rss_bytes: list[Mapping[str, int]] = field(default_factory=list)
    _first: dict[int, float] = field(default_factory=dict)
    _last: dict[int, tuple[str, float]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._sample()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()
        self._sample()
        for pid, (part, cpu_s) in self._last.items():
            self.cpu_s[part] = self.cpu_s.get(part, 0.0) + cpu_s - self._first[pid]

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            self._sample()

    def _sample(self) -> None:
        rss: dict[str, int] = {}
        for root in self.roots:
            for pid in below(root):
                now = used(pid)
                if now is None:
                    continue
                part = self._last[pid][0] if pid in self._last else part_of(pid)
                # A process that began after the first look has used nothing before it.
                self._first.setdefault(pid, 0.0 if self.rss_bytes else now.cpu_s)
                self._last[pid] = (part, now.cpu_s)
                rss[part] = rss.get(part, 0) + now.rss_bytes
        self.rss_bytes.append(rss)
