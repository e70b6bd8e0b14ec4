"""Tasks for tests of runners: spawned processes can only be given what they can import."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path


def ten() -> int:
    """A context."""
    return 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """Adds to the context."""

    number: int

    def __call__(self, context: int) -> int:
        """The sum."""
        return context + self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Raises."""

    def __call__(self, _context: int) -> int:
        """Never comes back."""
        raise ValueError("this task fails")


@dataclass(frozen=True, slots=True, kw_only=True)
class Die:
    """Kills its process, as often as `times`, counted in `marks`; then it adds nothing."""

    marks: Path
    times: int

    def __call__(self, context: int) -> int:
        """The context, from a process that lives."""
        died = len(list(self.marks.iterdir()))
        if died < self.times:
            (self.marks / str(died)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return context
