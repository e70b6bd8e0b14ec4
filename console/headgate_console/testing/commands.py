"""Runs commands of `headgate` in the process of a test.

run = runner(capsys, "token")
result = run("list", "--json")
assert 0 == result.code, result.err
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from headgate_console.cli import main


class Result(NamedTuple):
    """What a command left: its exit code and its two streams."""

    code: int
    out: str
    err: str


class Captured(Protocol):
    """Gives what was written to the streams since it was asked last, as pytest's `capsys` does."""

    def readouterr(self) -> tuple[str, str]:
        """Stdout and stderr."""
        ...


Run = Callable[..., Result]


def runner(captured: Captured, *command: str) -> Run:
    """A function that runs `headgate COMMAND ARGUMENTS…`."""

    def run(*arguments: str) -> Result:
        try:
            main([*command, *arguments])
        except SystemExit as ended:
            out, err = captured.readouterr()
            return Result(int(ended.code or 0), out, err)
        raise AssertionError("the command did not end its process")

    return run
