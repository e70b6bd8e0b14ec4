"""What a query sees, and what it may not do."""

from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headgate_processors.errors import StoreError
from headgate_processors.schema import DATASETS, Dataset
from headgate_processors.store import ReaderConfig, StoreReader
from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.manifest import read_manifest, update_manifest
from headgate_processors.store.parquet import schema_id
from headgate_processors.store.relation import sql_type, time_name
from headgate_processors.store.snapshot import take_snapshot
from headgate_processors.testing.rows import NOON_NS, batch, log, span


def test_an_empty_store_has_every_view(tmp_path, open_store) -> None:
    """Views exist, with their columns, before the first row."""
    open_store()
    with StoreReader(tmp_path).connect() as connection:
        for dataset in DATASETS.values():
            shown = connection.sql(f"SELECT * FROM {dataset.name}")
            assert 0 == len(shown.fetchall())
            assert dataset.schema.names == shown.columns[: len(dataset.columns)]


@pytest.mark.parametrize("sealed", [False, True])
def test_values_come_back_as_they_went_in(tmp_path, open_store, sealed) -> None:
    """Every column of a row, sealed or not, is what was appended, of the documented type."""
    row = span(
        1, reported_cost_usd=1, gen_ai_response_finish_reasons=["stop", "length"], gen_ai_usage_input_tokens=2**40
    )
    rows = batch("spans", [row])
    store = open_store()
    store.append({"spans": rows})
    if sealed:
        store.seal()

    with StoreReader(tmp_path).connect() as connection:
        shown = connection.sql("SELECT * FROM spans")
        types = dict(zip(shown.columns, map(str, shown.types), strict=True))
        found = shown.to_arrow_table().to_pylist()[0]

    assert rows.to_pylist()[0] == {name: found[name] for name in rows.schema.names}
    declared = {field.name: sql_type(field.type) for field in DATASETS["spans"].schema}
    assert declared == {name: types[name] for name in declared}


def test_times_are_shown_with_their_zone(tmp_path, open_store) -> None:
    """Every nanosecond column has a TIMESTAMPTZ beside it; no time is NULL, not 1970."""
    store = open_store()
    store.append(
        {"spans": batch("spans", [span(1, ended=False)]), "log_events": batch("log_events", [log(1, time_unix_nano=0)])}
    )

    with StoreReader(tmp_path).connect() as connection:
        query = "SELECT start_time, end_time, received_time FROM spans"
        assert ["TIMESTAMP WITH TIME ZONE"] * 3 == list(map(str, connection.sql(query).types))
        ((start, end, received),) = connection.sql(query).fetchall()
        ((time,),) = connection.sql("SELECT time FROM log_events").fetchall()

    assert datetime.fromtimestamp(NOON_NS / 1e9 - 2, UTC) == start
    assert datetime.fromtimestamp(NOON_NS / 1e9, UTC) == received
    assert (None, None) == (end, time)


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("start_time_unix_nano", "start_time"),
        ("received_unix_nano", "received_time"),
        ("time_unix_nano", "time"),
        ("unix_nano", "time"),
        ("last_activity_time_unix_nano", "last_activity_time"),
    ],
)
def test_the_time_of_a_column_is_named_after_it(column, name) -> None:
    """One rule for all names."""
    assert name == time_name(column)


REFUSED_STATEMENTS = [
    "COPY spans TO '/tmp/headgate-test-never.csv'",
    "COPY (SELECT 1 AS a) TO '{file}' (USE_TMP_FILE false)",
    "EXPLAIN ANALYZE COPY (SELECT 1 AS a) TO '{file}' (USE_TMP_FILE false)",
    "explain (analyze, format json) COPY (SELECT 1 AS a) TO '{file}' (USE_TMP_FILE false)",
    "/* x */ EXPLAIN ANALYZE COPY (SELECT 1 AS a) TO '{file}' (USE_TMP_FILE false)",
    "SELECT 1; COPY (SELECT 1 AS a) TO '{file}' (USE_TMP_FILE false)",
    "PREPARE p AS COPY (SELECT 1 AS a) TO '{file}' (USE_TMP_FILE false)",
    "ATTACH '{file}'",
    "ATTACH 'x.duckdb'",
    "EXPORT DATABASE 'x'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 1",
    "RESET threads",
    "PRAGMA threads = 1",
    "SET VARIABLE x = 1",
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW spans AS SELECT 1",
    "DROP VIEW spans",
    "INSERT INTO spans SELECT 1",
    "DELETE FROM spans",
    "CALL pragma_version()",
    "CREATE SECRET s (TYPE http)",
    "CHECKPOINT",
    "",
    "  -- nothing",
    "SELEC 1",
]


@pytest.mark.parametrize("statement", REFUSED_STATEMENTS)
def test_what_is_no_query_is_refused(tmp_path, open_store, statement) -> None:
    """Users read; nothing else passes, hidden in another statement or not, and no file changes."""
    store = open_store()
    store.append({"spans": batch("spans", [span(1)])})
    store.seal()
    (file,) = read_manifest(tmp_path).files
    before = (tmp_path / file.path).read_bytes()

    with pytest.raises(StoreError):
        StoreReader(tmp_path).query(statement.format(file=tmp_path / file.path))

    assert before == (tmp_path / file.path).read_bytes()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('{root}/store.json')",
        "SELECT * FROM '{root}/manifest.json'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_parquet('{root}/../*/*.parquet')",
        "SELECT * FROM query('COPY (SELECT 1) TO ''x.csv''')",
        "SELECT * FROM secret_rows",
    ],
)
def test_a_query_reads_nothing_but_the_store(tmp_path, open_store, query) -> None:
    """No other file, no listing, no variable of the process."""
    secret_rows = pa.table({"a": [1]})
    open_store()
    with pytest.raises(duckdb.Error):
        StoreReader(tmp_path).query(query.format(root=tmp_path))
    assert 1 == secret_rows.num_rows


@pytest.mark.parametrize(
    "query",
    [
        "FROM spans",
        "WITH s AS (SELECT * FROM spans) SELECT count(*) FROM s",
        "DESCRIBE spans",
        "SHOW TABLES",
        "SUMMARIZE SELECT name FROM spans",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT count(*) FROM spans",
        "explain (analyze, format json) SELECT 1",
        "VALUES (1)",
        "-- a comment\nSELECT 1;",
        "PIVOT spans ON kind USING count(*)",
        "SELECT ';' AS semicolon",
    ],
)
def test_queries_of_every_kind_pass(tmp_path, open_store, query) -> None:
    """The ways in which analysts ask."""
    open_store().append({"spans": batch("spans", [span(1, kind="CLIENT")])})

    assert StoreReader(tmp_path).query(query).num_rows >= 1


def test_settings_of_the_reader_hold(tmp_path, open_store) -> None:
    """Memory, threads and time zone are what the configuration says, and locked."""
    open_store()
    config = ReaderConfig(memory_limit="1GiB", threads=1)
    with StoreReader(tmp_path, config=config).connect() as connection:
        query = "SELECT current_setting('memory_limit'), current_setting('threads'), current_setting('TimeZone')"
        assert [("1.0 GiB", 1, "UTC")] == connection.sql(query).fetchall()
        with pytest.raises(duckdb.Error, match="locked"):
            connection.execute("SET threads = 2")


def test_files_with_older_columns_are_read_with_the_rest(tmp_path, open_store) -> None:
    """A column that an older file lacks is NULL in its rows; one that we no longer know is left out."""
    store = open_store()
    store.append({"spans": batch("spans", [span(1, team="payments")])})
    store.seal()
    store.append({"spans": batch("spans", [span(2, team="payments")])})
    store.seal()
    old = min(read_manifest(tmp_path).files, key=lambda file: file.path)
    path = tmp_path / old.path
    table = pq.read_table(path, partitioning=None).drop_columns(["team"])
    table = table.append_column("retired", pa.array(["x"]))
    path.unlink()
    pq.write_table(table, path)
    older = replace(
        old, schema_id=schema_id(table.schema), bytes=path.stat().st_size, crc32=None, modified_unix_nano=None
    )
    update_manifest(
        tmp_path,
        lambda now: replace(now, files=tuple(older if file.path == old.path else file for file in now.files)),
        disk=LocalDisk(),
    )

    found = StoreReader(tmp_path).query("SELECT * FROM spans ORDER BY name")

    assert [None, "payments"] == found.column("team").to_pylist()
    assert "retired" not in found.column_names


def test_a_snapshot_starts_again_when_a_seal_comes_between(tmp_path, open_store) -> None:
    """A seal between the look at the manifest and that at the segments neither loses nor doubles a row."""
    store = open_store()
    numbers = iter(range(100))
    store.append({"spans": batch("spans", [span(next(numbers))])})
    seals = iter([True, True, False])

    def read_then_seal(root):
        found = read_manifest(root)
        if next(seals, False):
            store.seal()
            store.append({"spans": batch("spans", [span(next(numbers))])})
        return found

    found = take_snapshot(tmp_path, attempts=10, read=read_then_seal)

    files = sum(file.rows for file in found.manifest.files)
    hot = sum(table.num_rows for tables in (found.hot, found.hot_unsettled) for table in tables.values())
    assert 3 == files + hot


def test_a_store_that_seals_without_end_is_told_so(tmp_path, open_store) -> None:
    """The attempts are bounded."""
    store = open_store()
    numbers = iter(range(100))

    def read_then_seal(root):
        found = read_manifest(root)
        store.append({"spans": batch("spans", [span(next(numbers))])})
        store.seal()
        return found

    with pytest.raises(StoreError, match="sealed 3 times while"):
        take_snapshot(tmp_path, attempts=3, read=read_then_seal)


def test_declared_tables_without_rows_are_views(tmp_path, open_store) -> None:
    """A derived table can be queried before anything was derived."""
    open_store()
    sessions = Dataset(name="sessions", row="session", columns=DATASETS["content"].columns[:2])

    assert 0 == StoreReader(tmp_path, derived={"sessions": sessions}).query("FROM sessions").num_rows
