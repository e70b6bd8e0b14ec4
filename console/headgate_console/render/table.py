"""Tables that fit: columns shrink, then the least important ones leave, and no cell ever wraps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.cells import cell_len, set_cell_size
from rich.text import Text

GAP = 2

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    `rank` 0 stays whatever happens; the highest rank leaves first, of one rank the rightmost.
    `shrink_to` is the least width in cells that a text column may be cut to.
    `style` is a Rich style, or gives one for a row.
    """

    key: str
    title: str
    format: Callable[[Any], str] = str
    align: Literal["left", "right"] = "left"
    rank: int = 0
    shrink_to: int | None = None
    style: str | Callable[[Row], str] = ""
    hide_when_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A table laid out for a width: its lines, and the titles of the columns that found no room."""

    lines: tuple[Text, ...]
    left_out: tuple[str, ...] = field(default=())


def fit(columns: Sequence[Column], rows: Sequence[Row], *, width: int, unicode: bool = True) -> Fitted:
    """Lay rows out in at most `width` cells a line."""
    shown = [column for column in columns if not (column.hide_when_empty and _empty(column, rows))]
    cells = {column.key: [_cell(column, row) for row in rows] for column in shown}
    widths = {column.key: _natural(column, cells[column.key]) for column in shown}
    kept = _drop(shown, widths, width)
    _shrink(kept, widths, width)
    head = _line([(_aligned(c, c.title, widths[c.key], unicode=unicode), "bold") for c in kept])
    body = [
        _line([(_aligned(c, cells[c.key][i], widths[c.key], unicode=unicode), _style(c, row)) for c in kept])
        for i, row in enumerate(rows)
    ]
    for line in (head, *body):
        line.truncate(width)
    return Fitted(lines=(head, *body), left_out=tuple(c.title for c in shown if c not in kept))


def clip(text: str, width: int, *, unicode: bool = True) -> str:
    """Cut text to `width` cells, an ellipsis showing that something is gone."""
    if cell_len(text) <= width:
        return text
    mark = "…" if unicode else "..."
    if width <= cell_len(mark):
        return set_cell_size(text, max(width, 0))
    return set_cell_size(text, width - cell_len(mark)).rstrip() + mark


def one_line(text: str) -> str:
    """Text with every run of white space and control characters made one blank."""
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """Text with a blank for every control character: what others wrote moves no cursor and changes no colour."""
    return "".join(ch if ch.isprintable() else " " for ch in text)


def _empty(column: Column, rows: Sequence[Row]) -> bool:
    return all(row.get(column.key) in (None, "", 0) for row in rows)


def _cell(column: Column, row: Row) -> str:
    value = row.get(column.key)
    return one_line(column.format(value)) if value is not None or column.format is not str else "–"


def _natural(column: Column, cells: Sequence[str]) -> int:
    return max([cell_len(column.title), *map(cell_len, cells)])


def _least(column: Column, natural: int) -> int:
    if column.shrink_to is None:
        return natural
    return min(natural, max(column.shrink_to, cell_len(column.title)))


def _drop(columns: Sequence[Column], widths: Mapping[str, int], width: int) -> list[Column]:
    kept = list(columns)
    while kept and sum(_least(c, widths[c.key]) + GAP for c in kept) - GAP > width:
        last = max(reversed(kept), key=lambda column: column.rank)
        if last.rank == 0:
            break
        kept.remove(last)
    return kept


def _shrink(columns: Sequence[Column], widths: dict[str, int], width: int) -> None:
    """Take what is too much from text: from the least important columns first, the widest of them before others."""
    excess = sum(widths[c.key] + GAP for c in columns) - GAP - width
    for rank in sorted({column.rank for column in columns}, reverse=True):
        same = [column for column in columns if column.rank == rank]
        while excess > 0:
            widest = max(same, key=lambda column: widths[column.key] - _least(column, widths[column.key]))
            if widths[widest.key] <= _least(widest, widths[widest.key]):
                break
            widths[widest.key] -= 1
            excess -= 1


def _aligned(column: Column, text: str, width: int, *, unicode: bool) -> str:
    cut = clip(text, width, unicode=unicode)
    blanks = " " * max(0, width - cell_len(cut))
    return blanks + cut if column.align == "right" else cut + blanks


def _style(column: Column, row: Row) -> str:
    return column.style if isinstance(column.style, str) else column.style(row)


def _line(parts: Sequence[tuple[str, str]]) -> Text:
    line = Text(no_wrap=True, end="")
    for index, (text, style) in enumerate(parts):
        last = index == len(parts) - 1
        line.append(text.rstrip() if last else text, style=style)
        line.append("" if last else " " * GAP)
    line.rstrip()
    return line
