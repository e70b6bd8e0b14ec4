"""Tables that fit whatever the width."""

from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from headgate_console.render.table import Column, clip, fit, one_line

COLUMNS = (
    Column(key="id", title="ID"),
    Column(key="name", title="NAME", shrink_to=6),
    Column(key="calls", title="CALLS", align="right", rank=1),
    Column(key="task", title="TASK", rank=2, shrink_to=8),
)
ROWS = [
    {"id": "3f9c", "name": "claude-code", "calls": 12, "task": "Fix the failing test\nin calc.py"},
    {"id": "a0b1", "name": "审查员", "calls": None, "task": "Review it"},
]


def _plain(width: int) -> str:
    return "\n" + "\n".join(line.plain for line in fit(COLUMNS, ROWS, width=width).lines) + "\n"


def test_a_wide_table_shows_everything() -> None:
    """Columns take their natural width, numbers stand right, wide characters count as two cells."""
    assert _plain(80) == snapshot("""\

ID    NAME         CALLS  TASK
3f9c  claude-code     12  Fix the failing test in calc.py
a0b1  审查员           –  Review it
""")


def test_a_narrow_table_shortens_text() -> None:
    """Text columns give way first, with an ellipsis."""
    assert _plain(36) == snapshot("""\

ID    NAME         CALLS  TASK
3f9c  claude-code     12  Fix the f…
a0b1  审查员           –  Review it
""")


def test_a_very_narrow_table_loses_its_least_important_columns() -> None:
    """The highest rank leaves first, and the table says what it left out."""
    assert _plain(20) == snapshot("""\

ID    NAME     CALLS
3f9c  claude…     12
a0b1  审查员       –
""")
    assert ("CALLS", "TASK") == fit(COLUMNS, ROWS, width=14).left_out


def test_an_empty_column_can_hide() -> None:
    """A column that no row fills takes no room where it may hide."""
    columns = [Column(key="a", title="A"), Column(key="b", title="B", hide_when_empty=True)]
    assert ["A", "1"] == [line.plain for line in fit(columns, [{"a": 1, "b": None}], width=20).lines]


@given(
    st.lists(st.fixed_dictionaries({c.key: st.none() | st.text(max_size=30) for c in COLUMNS}), max_size=5),
    st.integers(min_value=30, max_value=120),
)
def test_no_line_is_ever_longer_than_the_width(rows: list[dict[str, str | None]], width: int) -> None:
    """Whatever the cells hold, control characters and wide ones included, each line fits and none is split."""
    short = [{**row, "id": (row["id"] or "")[:4]} for row in rows]
    lines = fit(COLUMNS, short, width=width).lines
    assert len(rows) + 1 == len(lines)
    assert all(line.cell_len <= width and "\n" not in line.plain for line in lines)


def test_clipping_shows_that_something_is_gone() -> None:
    """An ellipsis takes the place of what was cut, three dots where there is only ASCII."""
    assert ["abc", "ab…", "ab..."] == [clip("abc", 3), clip("abcd", 3), clip("abcdefgh", 5, unicode=False)]


def test_one_line_has_no_control_characters() -> None:
    """Escape sequences of a recorded text never reach the terminal."""
    assert "a [31mred b" == one_line("a\x1b[31mred\n\tb")
