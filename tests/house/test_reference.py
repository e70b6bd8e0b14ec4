"""The generated pages of the reference say what the code says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from headgate_analytics.schema import DERIVED
from headgate_analytics.views import open_views
from headgate_console.cli.app import app
from headgate_console.reference.__main__ import PAGES
from headgate_console.reference.commands import COMMANDS
from headgate_processors.schema import DATASETS
from headgate_processors.store import Store

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = ROOT / "docs" / "reference"


@pytest.mark.parametrize(("name", "page"), PAGES.items(), ids=list(PAGES))
def test_a_generated_page_is_current(name: str, page: Callable[[], str]) -> None:
    """The committed page is what the code generates; `make docs` renews it."""
    assert page() == (REFERENCE / name).read_text(encoding="utf-8")


def test_every_command_has_its_help_in_the_reference() -> None:
    """A command without a page would be a secret."""
    documented = {command[0] for command in COMMANDS if command}
    groups = {group.name for group in app.registered_groups}
    assert documented == groups | {command.name for command in app.registered_commands}


def test_every_command_has_examples() -> None:
    """The help of each ends in commands to try."""
    page = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    helps = page.split("\n## ")[2:]
    assert [] == [text.splitlines()[0] for text in helps if " Examples\n" not in text]


def test_views_have_the_columns_that_are_documented(tmp_path: Path) -> None:
    """Each view shows every column of its schema, in whatever order, and beside them only times as timestamps."""
    Store.open(tmp_path / "store").close()
    with open_views(tmp_path / "store") as views:
        for name, dataset in {**DATASETS, **DERIVED}.items():
            shown = {row[0] for row in views.execute(f"DESCRIBE {name}").fetchall()}
            documented = {column.name for column in dataset.columns}
            times = {_time_column(column) for column in documented if column.endswith("unix_nano")}
            assert documented <= shown, name
            assert times == shown - documented, name


def _time_column(name: str) -> str:
    """The timestamp beside a column of nanoseconds: `start_time`, `received_time`, `time`."""
    stem = name.removesuffix("unix_nano").strip("_")
    return stem if stem.endswith("time") else f"{stem}_time".lstrip("_")
