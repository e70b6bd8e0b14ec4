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
QUIET = {None, "", "ok", "unknown"}
OFFSET_WIDTH = 8
TOOK_WIDTH = 9
COST_WIDTH = 8
BAR_WIDTH_MAX = 48
INDENT_MAX = 8


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

    title: int
    bar: int
    cost: int
    unicode: bool

    @classmethod
    def of(cls, width: int, *, unicode: bool, priced: bool) -> "Layout":
        """Share a line of `width` cells out: a narrow one loses the bars, then the cost."""
        cost = COST_WIDTH if priced and width >= 60 else 0
        free = width - OFFSET_WIDTH - 2 - TOOK_WIDTH - 2 - (cost + 2 if cost else 0)
        bar = (
            min(BAR_WIDTH_MAX, (free - 2) * (1 if width < 100 else 2) // (3 if width < 100 else 5))
            if width >= 72
            else 0
        )
        return cls(title=max(free - (bar + 2 if bar else 0), 10), bar=bar, cost=cost, unicode=unicode)


def timeline(entries: Sequence[Entry], *, width: int, unicode: bool = True) -> list[Text]:
    """Lines of at most `width` cells, the first one the heading.

    Args:
        entries: rows of the view `timeline` of one session, in order of `seq`.
        width: cells of the terminal.
        unicode: whether more than ASCII can be shown.
    """
    if not entries:
        return []
    scale = Scale.of(entries)
    layout = Layout.of(width, unicode=unicode, priced=any(e["cost_usd"] is not None for e in entries))
    depths = agent_depths(entries)
    lines = [_heading(scale, layout)]
    before: str | None = None
    for entry in entries:
        actor = entry["actor"] or before
        depth = depths.get(actor, 0)
        if actor != before and len(depths) > 1:
            lines.append(_agent(actor, depth, layout))
        before = actor
        lines.append(_entry(entry, depth, scale, layout))
    return lines


def agent_depths(entries: Sequence[Entry]) -> dict[str | None, int]:
    """How deep each agent is nested: one deeper than the agent that started it or handed over to it."""
    by_seq = {entry["seq"]: entry for entry in entries}
    depths: dict[str | None, int] = {}
    giver: str | None = None
    for entry in entries:
        actor = entry["actor"]
        if actor and actor not in depths:
            parent = by_seq.get(entry["parent_seq"], {}).get("actor") or giver
            depths[actor] = min(depths[parent] + 1, INDENT_MAX) if parent in depths else 0
        giver = actor if entry["kind"] == "handoff" else giver
    return depths


def _heading(scale: Scale, layout: Layout) -> Text:
    parts = [f"{'TIME':>{OFFSET_WIDTH}}", f"{'WHAT':<{layout.title}}", f"{'TOOK':>{TOOK_WIDTH}}"]
    if layout.bar:
        parts.append(_ruler(duration(scale.length_ns), layout))
    if layout.cost:
        parts.append(f"{'SO FAR':>{layout.cost}}")
    return Text("  ".join(parts), style="bold")


def _ruler(end: str, layout: Layout) -> str:
    dash = "─" if layout.unicode else "-"
    middle = layout.bar - len("0 ") - len(end) - 1
    return f"0 {dash * middle} {end}" if middle > 0 else " " * layout.bar


def _agent(actor: str | None, depth: int, layout: Layout) -> Text:
    corner = "╭ " if layout.unicode else "+ "
    room = layout.title - 2 * depth - 2
    line = Text(" " * (OFFSET_WIDTH + 2))
    line.append(_guides(depth, layout) + corner, style="dim magenta")
    line.append(clip(one_line(actor or ""), room, unicode=layout.unicode), style="bold magenta")
    return line


def _guides(depth: int, layout: Layout) -> str:
    return ("│ " if layout.unicode else "| ") * depth


def _entry(entry: Entry, depth: int, scale: Scale, layout: Layout) -> Text:
    look = LOOKS.get(entry["kind"], OTHER)
    style = BAD.get(entry["status"] or "", look.style)
    line = Text()
    line.append(_offset(entry["unix_nano"] - scale.start_unix_nano) + "  ", style="dim")
    line.append_text(_title(entry, depth, look, layout))
    took = duration(entry["duration_ns"]) if entry["duration_ns"] is not None else ""
    line.append(f"  {took:>{TOOK_WIDTH}}")
    if layout.bar:
        line.append("  " + _bar(entry, scale, layout), style=style)
    if layout.cost:
        spent = entry["cost_usd"] is not None
        line.append(f"  {money(entry['cost_so_far_usd']) if spent else '':>{layout.cost}}", style="dim")
    line.rstrip()
    return line


def _offset(ns: int) -> str:
    seconds = ns / SECOND_NS
    if seconds < 99.95:
        return f"{f'+{seconds:.1f} s':>{OFFSET_WIDTH}}"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    text = f"+{hours}:{minute:02d}:{second:02d}" if hours else f"+{minute}:{second:02d}"
    return f"{text:>{OFFSET_WIDTH}}"


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
    room = layout.title - cell_len(guides) - cell_len(mark) - 1 - cell_len(verdict)
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
