"""What a replayed file holds: export requests, and what could not be read as one."""

from dataclasses import dataclass
from pathlib import Path

from headgate_processors.otlp.port import Encoding, Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """One export request; `line` is its line, or its number in a file without lines, from 1."""

    path: Path
    line: int
    signal: Signal
    encoding: Encoding
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRefusal:
    """A line or message that is no export request, and why; 0 stands for the file as a whole."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{where}: {self.reason}"


ReplayItem = ReplayRequest | ReplayRefusal
