"""Findings of the doctor as lines: a mark, the topic, what was found, what to do."""

import textwrap

from rich.text import Text

from headgate_console.doctor.finding import Finding, Level

MARKS = {Level.OK: ("✓", "+", "green"), Level.NOTE: ("•", "-", "cyan"), Level.WARNING: ("!", "!", "bold yellow")}
TOPIC_WIDTH = 15


def finding_lines(finding: Finding, *, width: int, unicode: bool = True) -> list[Text]:
    """A finding in lines of at most `width` cells, wrapped between words under its topic."""
    mark, plain, style = MARKS[finding.level]
    head = Text()
    head.append(f"{mark if unicode else plain} ", style)
    head.append(f"{finding.topic:<{TOPIC_WIDTH}}", "bold")
    arrow = "→ " if unicode else "-> "
    room = max(width - TOPIC_WIDTH - 2, 20)
    body = [Text(line) for line in _wrap(finding.text, room)]
    for detail in finding.details:
        body += [Text(line, "dim") for line in _wrap(detail, room)]
    if finding.next_step:
        body += [Text(line, "cyan") for line in _wrap(arrow + finding.next_step, room)]
    indent = " " * (TOPIC_WIDTH + 2)
    return [head.append_text(body[0]), *(Text(indent).append_text(line) for line in body[1:])]


def _wrap(text: str, room: int) -> list[str]:
    return textwrap.wrap(text, room, subsequent_indent="  ", break_on_hyphens=False) or [""]
