"""Figures and how they are shown: as a table on the terminal, as a page in the documentation."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value; `baseline` is what the same thing costs at least, in the same unit and run."""

    what: str
    value: float
    unit: str
    baseline: float | None = None
    note: str = ""

    def cells(self) -> tuple[str, str, str, str]:
        """What, value with its unit, times the baseline, note."""
        ratio = f"{self.value / self.baseline:,.2f}" if self.baseline else ""
        return self.what, f"{number(self.value)} {self.unit}", ratio, self.note


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Figures that belong together."""

    title: str
    text: str
    figures: Sequence[Figure]


def number(value: float) -> str:
    """A value with three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def plain(section: Section) -> str:
    """A section for a terminal."""
    rows = [figure.cells() for figure in section.figures]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    return "\n".join(["", section.title.upper(), *lines])


def markdown(section: Section) -> str:
    """A section for a page."""
    rows = [f"| {' | '.join(figure.cells())} |".replace("  ", " ") for figure in section.figures]
    head = "| what | figure | × baseline | |\n| --- | ---: | ---: | --- |"
    return f"## {section.title}\n\n{textwrap.fill(section.text, 120)}\n\n{head}\n" + "\n".join(rows) + "\n"
