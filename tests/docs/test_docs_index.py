"""The index and the glossary: every page can be found, every word is one of the house."""

import re
from pathlib import Path

from headgate_analytics.schema import DERIVED

DOCS = Path(__file__).resolve().parents[2] / "docs"


def _text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_every_page_is_in_the_index() -> None:
    """Guides, concepts, reference, decisions and the glossary."""
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - {"README.md"}
    assert set() == pages - set(re.findall(r"\]\(([^)]+)\)", _text("README.md")))


def test_decisions_stand_in_the_index_under_their_titles() -> None:
    """A record that is renamed is renamed there too."""
    titles = [path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for path in DOCS.glob("adr/*.md")]
    assert [] == [title for title in titles if f"[{title}]" not in _text("README.md")]


def test_the_glossary_is_in_order_and_says_each_word_once() -> None:
    """Whoever looks for a word finds it."""
    words = re.findall(r"^\| ([\w -]+?) \|", _text("glossary.md"), re.MULTILINE)[1:]
    assert sorted(set(words), key=lambda word: word.replace("-", "").replace(" ", "")) == words


def test_the_page_on_sessions_names_columns_that_exist() -> None:
    """What it says of NULL is about columns of the derived views."""
    table = _text("concepts/sessions.md").partition("## What NULL means")[2].partition("## State")[0]
    named = set(re.findall(r"^\| `(\w+)`(?:, `(\w+)`)?", table, re.MULTILINE))
    columns = {column.name.removesuffix("_unix_nano") for dataset in DERIVED.values() for column in dataset.columns}
    assert set() == {name for pair in named for name in pair if name} - columns
