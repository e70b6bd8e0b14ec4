"""Where a command writes: results to stdout, the rest to stderr, each as wide and as colourful as it can be."""

import io
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from headgate_console.render.records import write_json
from headgate_console.render.table import Column, fit

WIDTH_PIPED = 80
WIDTH_MIN = 40
TABLE_WIDTH_MAX = 10_000
PLAINER = str.maketrans({"–": "-", "×": "x", "·": "-"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """The two streams of a command."""

    out: Console
    err: Console
    width: int
    table_width: int
    unicode: bool

    def show(self, lines: Iterable[Text | str]) -> None:
        """Write lines of a result."""
        for line in lines:
            text = line if isinstance(line, Text) else Text(line)
            if not self.unicode:
                text.plain = text.plain.translate(PLAINER)
            self.out.print(text, soft_wrap=True, highlight=False, markup=False)

    def say(self, text: Text | str) -> None:
        """Tell the person something that is no result."""
        self.err.print(text, soft_wrap=True, highlight=False, markup=False)

    def json(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows as one JSON array."""
        write_json(rows, utf8_stdout())

    def table(self, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a table that fits, and tell which columns found no room."""
        fitted = fit(columns, rows, width=self.table_width, unicode=self.unicode)
        self.show(fitted.lines)
        if fitted.left_out and self.err.is_terminal:
            self.say(Text(f"No room for {', '.join(fitted.left_out).lower()}: widen the terminal, or --json", "dim"))


def utf8_stdout() -> TextIO:
    """Stdout for documents that programs read: UTF-8 whatever the locale says."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    return sys.stdout


def screen() -> Screen:
    """The streams of this process: as wide as `COLUMNS` says, else as the terminal, else 80.

    A table that goes to no terminal is as wide as it is: programs read it, and an id that is cut is none.
    """
    asked = _asked()
    width = max(asked or _width(), WIDTH_MIN)
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    return Screen(
        out=Console(file=sys.stdout, width=width, soft_wrap=True, emoji=False),
        err=Console(file=sys.stderr, soft_wrap=True, emoji=False),
        width=width,
        table_width=width if asked or sys.stdout.isatty() else TABLE_WIDTH_MAX,
        unicode=encoding.startswith("utf"),
    )


def _asked() -> int | None:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) or None if columns.isdecimal() else None


def _width() -> int:
    return shutil.get_terminal_size((WIDTH_PIPED, 24)).columns if sys.stdout.isatty() else WIDTH_PIPED
