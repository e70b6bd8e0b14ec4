"""The timeline of a session: indented by agent, on one time scale, with the cost so far."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from headgate_console.render.bars import span
from headgate_console.render.numbers import SECOND_NS, duration, money
from headgate_console.render.table import clip, one_line

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a kind of entry is drawn: its mark, the mark where only ASCII is to be had, its colour."""

    mark: str
    ascii: str
    style: str


LOOKS: Mapping[str, Look] = {
    "task": Look(mark="▶", ascii=">", style="bold"),
    "model_call": Look(mark="◆", ascii="*", style="blue"),
    "tool_call": Look(mark="●", ascii="o", style="green"),
    "file_read": Look(mark="○", ascii="r", style="green"),
    "file_write": Look(mark="✎", ascii="w", style="magenta"),
    "command": Look(mark="❯", ascii="$", style="cyan"),
    "external_action": Look(mark="↗", ascii="^", style="yellow"),
    "handoff": Look(mark="⇢", ascii="@", style="bold magenta"),
    "retry": Look(mark="↻", ascii="~", style="yellow"),
    "error": Look(mark="✗", ascii="x", style="red"),
    "decision": Look(mark="◇", ascii="?", style="yellow"),
    "approval": Look(mark="✓", ascii="+", style="green"),
    "stop": Look(mark="■", ascii="#", style="bold red"),
    "memory": Look(mark="◈", ascii="m", style="cyan"),
    "outcome": Look(mark="★", ascii="=", style="bold green"),
}
OTHER = Look(mark="·", ascii=".", style="")
BAD = {"error": "red", "denied": "yellow", "cancelled": "yellow", "timeout": "red"}
NOT_AGENTS = {None, "", "user"}
QUIET = {None, "", "ok", "unknown"}
BAR_WIDTH_MAX = 48
INDENT_MAX = 8
ROOM_MIN = 16
SHORT_NS = 10 * SECOND_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The common time scale: where it starts and how long it is, both in nanoseconds."""

    start_unix_nano: int
    length_ns: int

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Scale":
        """The scale from the first start to the last end."""
        start = min(entry["unix_nano"] for entry in entries)
        end = max(entry["unix_nano"] + (entry["duration_ns"] or 0) for entry in entries)
        return cls(start_unix_nano=start, length_ns=max(end - start, 1))

    def share(self, unix_nano: int) -> float:
        """Where a time lies on the scale, between 0 and 1."""
        return (unix_nano - self.start_unix_nano) / self.length_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Widths in cells; a bar or cost column of width 0 is not drawn."""

    offset: int
    title: int
    took: int
    bar: int
    cost: int
    unicode: bool

    @classmethod
    def of(cls, entries: Sequence[Entry], scale: Scale, *, width: int, unicode: bool) -> "Layout":
        """Share a line of `width` cells out: a narrow one loses the bars, then the cost."""
        offset = max(len(_offset(entry, scale)) for entry in entries)
        took = max(len("TOOK"), *(len(_took(entry)) for entry in entries))
        cost = max(len(_cost(entry)) for entry in entries) if width >= 60 else 0
        cost = max(cost, len("SO FAR")) if cost else 0
        free = width - offset - 2 - took - 2 - (cost + 2 if cost else 0)
        part = 3 if width < 100 else 2.5
        bar = min(BAR_WIDTH_MAX, int((free - 2) / part)) if width >= 72 else 0
        return cls(
            offset=offset,
            title=max(free - (bar + 2 if bar else 0), 1),
            took=took,
            bar=bar,
            cost=cost,
            unicode=unicode,
        )


def timeline(entries: Sequence[Entry], *, width: int, unicode: bool = True) -> list[Text]:
    """Lines of at most `width` cells, the first one the heading.

    Args:
        entries: rows of the view `timeline` of one session, in order of `seq`.
        width: cells of the terminal.
        unicode: whether more than ASCII can be shown.

    An agent is named where it begins, and again where another one of its depth came between.
    """
    if not entries:
        return []
    scale = Scale.of(entries)
    layout = Layout.of(entries, scale, width=width, unicode=unicode)
    agents = {entry["actor"] for entry in entries} - NOT_AGENTS
    lines = [_heading(scale, layout)]
    named: dict[int, str] = {}
    for entry in entries:
        depth = min(entry["depth"], INDENT_MAX, max(layout.title - ROOM_MIN, 0) // 2)
        if entry["actor"] not in NOT_AGENTS and len(agents) > 1 and named.get(depth) != entry["actor"]:
            named[depth] = entry["actor"]
            lines.append(_agent(entry["actor"], depth, layout))
        lines.append(_entry(entry, depth, scale, layout))
    return lines


def _heading(scale: Scale, layout: Layout) -> Text:
    parts = [f"{'TIME':>{layout.offset}}", f"{'WHAT':<{layout.title}}", f"{'TOOK':>{layout.took}}"]
    if layout.bar:
        parts.append(_ruler(duration(scale.length_ns), layout))
    if layout.cost:
        parts.append(f"{'SO FAR':>{layout.cost}}")
    return Text("  ".join(parts), style="bold")


def _ruler(end: str, layout: Layout) -> str:
    dash = "─" if layout.unicode else "-"
    middle = layout.bar - len("0 ") - len(end) - 1
    return f"0 {dash * middle} {end}" if middle > 0 else " " * layout.bar


def _agent(actor: str, depth: int, layout: Layout) -> Text:
    corner = "╭ " if layout.unicode else "+ "
    room = layout.title - 2 * depth - 2
    line = Text(" " * (layout.offset + 2))
    line.append(_guides(depth, layout) + corner, style="dim magenta")
    line.append(clip(one_line(actor), room, unicode=layout.unicode), style="bold magenta")
    return line


def _guides(depth: int, layout: Layout) -> str:
    return ("│ " if layout.unicode else "| ") * depth


def _entry(entry: Entry, depth: int, scale: Scale, layout: Layout) -> Text:
    look = LOOKS.get(entry["kind"], OTHER)
    style = BAD.get(entry["status"] or "", look.style)
    line = Text()
    line.append(f"{_offset(entry, scale):>{layout.offset}}  ", style="dim")
    line.append_text(_title(entry, depth, look, layout))
    line.append(f"  {_took(entry):>{layout.took}}")
    if layout.bar:
        line.append("  " + _bar(entry, scale, layout), style=style)
    if layout.cost:
        line.append(f"  {_cost(entry):>{layout.cost}}", style="dim")
    line.rstrip()
    return line


def _took(entry: Entry) -> str:
    return duration(entry["duration_ns"]) if entry["duration_ns"] is not None else ""


def _cost(entry: Entry) -> str:
    return money(entry["cost_so_far_usd"]) if entry["cost_usd"] is not None else ""


def _offset(entry: Entry, scale: Scale) -> str:
    seconds = (entry["unix_nano"] - scale.start_unix_nano) / SECOND_NS
    if seconds < 99.95:
        return f"+{seconds:.{1 if scale.length_ns > SHORT_NS else 2}f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"+{hours}:{minute:02d}:{second:02d}" if hours else f"+{minute}:{second:02d}"


def _bar(entry: Entry, scale: Scale, layout: Layout) -> str:
    if entry["duration_ns"] is None:
        return " " * layout.bar
    start = scale.share(entry["unix_nano"])
    end = scale.share(entry["unix_nano"] + entry["duration_ns"])
    return f"{span(start, end, width=layout.bar, unicode=layout.unicode):<{layout.bar}}"


def _title(entry: Entry, depth: int, look: Look, layout: Layout) -> Text:
    style = BAD.get(entry["status"] or "", "")
    guides = _guides(depth, layout)
    mark = look.mark if layout.unicode else look.ascii
    verdict = "" if entry["status"] in QUIET else f"  {entry['status'].replace('_', ' ')}"
    room = layout.title - 2 * depth - 2 - cell_len(verdict)
    if room < ROOM_MIN // 4:
        room, verdict = room + cell_len(verdict), ""
    words = clip(one_line(entry["title"] or entry["kind"]), room, unicode=layout.unicode)
    title = Text()
    title.append(guides, style="dim magenta")
    title.append(mark + " ", style=style or look.style)
    title.append_text(_words(words, style))
    title.append(verdict, style=style or "dim")
    title.append(" " * (layout.title - title.cell_len))
    return title


def _words(words: str, style: str) -> Text:
    text = Text()
    text.append(words, style=style)
    text.highlight_regex(re.compile(r"`[^`]*`?"), "bold")
    return text
