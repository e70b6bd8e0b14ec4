"""The SQL that lets any DuckDB query the store."""

import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from headgate_processors.errors import StoreError
from headgate_processors.schema import DATASETS, Column, Dataset
from headgate_processors.store import DerivedWriter, StoreReader, compact, views
from headgate_processors.testing.rows import NOON_NS, batch, child, log, span

COLUMNS = (
    ("session_id", DATASETS["spans"].schema.field("trace_id").type),
    ("revision", DATASETS["spans"].schema.field("flags").type),
    ("unix_nano", DATASETS["spans"].schema.field("flags").type),
)
DERIVED = {
    name: Dataset(
        name=name, row=name, columns=tuple(Column(name=column, type=type_, doc="") for column, type_ in COLUMNS)
    )
    for name in ("sessions", "timeline")
}
VIEWS = (*DATASETS, *DERIVED)


def rows(*spans):
    """Rows to append: these spans, each with an event, and a log."""
    return {
        "spans": batch("spans", spans),
        "span_events": batch("span_events", map(child, spans)),
        "log_events": batch("log_events", [log(len(spans))]),
    }


def derive(folder: Path, revision: int, *sessions: str) -> None:
    """Write a revision of these sessions."""
    schema = DERIVED["sessions"].schema
    table = pa.Table.from_pylist(
        [{"session_id": name, "revision": revision, "unix_nano": 10**18} for name in sessions], schema=schema
    )
    DerivedWriter(folder).write({"sessions": table, "timeline": table})


def plain(folder: Path, *, root: str | None = None) -> dict[str, list[tuple[object, ...]]]:
    """Every view as a DuckDB shows it that knows nothing of Headgate."""
    with duckdb.connect() as connection:
        connection.execute("SET timezone = 'America/New_York'")
        connection.execute(views.sql(folder, derived=DERIVED, root=root))
        return {view: connection.sql(f"SELECT * FROM {view} ORDER BY ALL").fetchall() for view in VIEWS}


def ours(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every view as our reader shows it."""
    with StoreReader(folder, derived=DERIVED).connect() as connection:
        return {view: connection.sql(f"SELECT * FROM {view} ORDER BY ALL").fetchall() for view in VIEWS}


def fill(folder: Path, open_store) -> None:
    """A store with everything that needs a second look: repeats, versions, revisions, removed sessions."""
    with open_store(folder, dedupe_rows_max=2) as store:
        store.append(rows(span(1), span(2, ended=False), span(3)))
        store.append(rows(*(span(number) for number in range(10, 14))))
        store.seal()
        store.append(rows(span(1, received_ns=NOON_NS + 9), span(2, received_ns=NOON_NS + 9)))
    derive(folder, 1, "a", "b", "c")
    derive(folder, 2, "b")
    DerivedWriter(folder).write({}, removed_session_ids=["c"])


@pytest.mark.slow
def test_they_show_what_our_reader_shows(tmp_path, open_store) -> None:
    """Repeats, versions and revisions come out alike, before and after compaction, with every column."""
    fill(tmp_path, open_store)
    expected = ours(tmp_path)

    assert [7, 7] == [len(expected[view]) for view in ("spans", "span_events")]
    assert 2 == len(expected["sessions"])
    assert expected == plain(tmp_path)

    compact(tmp_path)
    assert expected == plain(tmp_path) == ours(tmp_path)


def test_an_empty_store_has_every_view(tmp_path, open_store) -> None:
    """The statements run before anything was sealed."""
    open_store()

    assert {view: [] for view in VIEWS} == plain(tmp_path)


def test_running_them_again_shows_what_was_sealed_since(tmp_path, open_store) -> None:
    """The text reads the manifest when it runs: printed once, it goes on to be right."""
    store = open_store()
    text = views.sql(tmp_path, derived=DERIVED)
    with duckdb.connect() as connection:
        for number in range(1, 4):
            store.append(rows(span(number)))
            store.seal()
            if number == 2:
                compact(tmp_path)
            connection.execute(text)
            assert [(number,)] == connection.sql("SELECT count(*) FROM spans").fetchall()


def test_another_machine_sees_the_folder_elsewhere(tmp_path, open_store) -> None:
    """The path of the folder stands in one place."""
    here, there = tmp_path / "here", tmp_path / "it's there"
    fill(here, open_store)
    expected = ours(here)
    text = views.sql(here, derived=DERIVED, root=str(there))
    shutil.move(here, there)

    assert 1 == text.count("it''s there")
    assert str(here) not in text
    assert expected == plain(there, root=str(there))


def test_the_text_says_how_old_its_answers_are(tmp_path, open_store) -> None:
    """Whoever reads the statements learns what they do not show, and when to run them again."""
    open_store()
    text = views.sql(tmp_path, grace_s=90)

    for part in ("headgate views", str(tmp_path), "rows of the last seconds are not there yet", "90 s"):
        assert part in text


def test_filters_reach_the_files(tmp_path, open_store) -> None:
    """A condition is pushed into the scan of the files, where statistics decide it."""
    fill(tmp_path, open_store)
    compact(tmp_path)
    with duckdb.connect() as connection:
        connection.execute(views.sql(tmp_path, derived=DERIVED))
        ((_, plan),) = connection.sql("EXPLAIN SELECT trace_id FROM spans WHERE name = 'span 11'").fetchall()

    assert "Filters: name = " in plan
    assert "READ_PARQUET" in plan


def test_without_a_store_there_is_nothing_to_print(tmp_path) -> None:
    """The sentence is the same as for a query."""
    with pytest.raises(StoreError, match="holds no store"):
        views.sql(tmp_path / "nothing")
