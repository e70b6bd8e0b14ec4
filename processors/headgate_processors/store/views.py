"""The views as SQL text, for a DuckDB that knows nothing of Headgate and sees the files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from headgate_processors.schema import DATASETS, Dataset
from headgate_processors.store.folder import FORMAT, open_folder
from headgate_processors.store.forgotten import hidden_children_sql, hidden_sql
from headgate_processors.store.relation import SqlTable, quote, text
from headgate_processors.store.repeats import (
    CHILD_KEYS,
    RECORDS,
    SOURCE_COLUMNS,
    Source,
    contested_sql,
    lost_children_sql,
)
from headgate_processors.store.revisions import KEY, SEQUENCE, TOMBSTONE, VERSION, current_sql, stale_sql

_FILES = "headgate_files"
_LOST = "headgate_lost"
_CONTESTED = "headgate_contested"
_CURRENT = "headgate_current"
_STALE = "headgate_stale"
_FORGOTTEN = "headgate_forgotten"
_HIDDEN = "headgate_hidden_records"
_FOUND = "headgate_forgotten_rows"
_NO_PLACE = "NULL::VARCHAR AS filename, NULL::BIGINT AS file_row_number"


def sql(
    folder: Path, *, derived: Mapping[str, Dataset] = MappingProxyType({}), root: str | None = None, grace_s: float = 60
) -> str:
    """Statements that define every view over the sealed files of a store.

    They read the manifest each time they run. `root` is where the other machine sees the folder, when that is
    another path than here; `grace_s` is how long replaced files stay.

    Raises:
        StoreError: there is no store.
    """
    open_folder(folder)
    place = root or folder.absolute().as_posix()
    statements = [
        f"SET VARIABLE headgate_root = {text(place)}",
        _files(),
        *(_empty(SqlTable.of(dataset)) for dataset in (*DATASETS.values(), *derived.values())),
        *_lost(),
        *_forgotten(),
        *(statement for dataset in DATASETS.values() for statement in _raw_view(SqlTable.of(dataset))),
        *_current(),
        *(statement for dataset in derived.values() for statement in _derived_view(SqlTable.of(dataset))),
    ]
    return _preamble(place, grace_s) + "".join(f"{statement};\n\n" for statement in statements)


def _preamble(place: str, grace_s: float) -> str:
    return f"""\
-- Views over the Headgate store in {place} (store format {FORMAT}), printed by `headgate views`.
-- For any DuckDB that sees these files; no extension is needed. Elsewhere mounted: change headgate_root.
-- They show what was sealed when these statements ran: rows of the last seconds are not there yet, and later
-- rows join when the statements run again. Do that before {grace_s:g} s are over: by then files that
-- compaction replaced are deleted, and a view that still names one fails with "No files found".
-- Variables and temporary views belong to one connection: run this on each.

"""


def _files() -> str:
    columns = "dataset VARCHAR, path VARCHAR, derived BOOLEAN, settled BOOLEAN, live_version BIGINT"
    return f"""\
CREATE OR REPLACE TEMP TABLE {_FILES} AS
SELECT dataset, derived, settled, live_version, getvariable('headgate_root') || '/' || path AS filename FROM (
  SELECT unnest(files, recursive := true)
  FROM read_json(
    getvariable('headgate_root') || '/manifest.json', format = 'unstructured', maximum_object_size = 2000000000,
    columns = {{files: 'STRUCT({columns})[]'}}
  )
)"""


def _lost() -> list[str]:
    """Which rows another version of their record replaced."""
    variables = [
        _variable(_name(dataset, kind), f"dataset = {text(dataset)} AND NOT derived AND {settled}")
        for dataset in DATASETS
        for kind, settled in (("settled", "settled"), ("unsettled", "NOT settled"))
    ]
    sources = {dataset: _source(dataset) for dataset in DATASETS}
    children = [
        f"INSERT INTO {_LOST} SELECT {text(child)}, * FROM "
        f"({lost_children_sql(child, sources[child].every, _CONTESTED)})"
        for child in CHILD_KEYS
    ]
    contested = contested_sql({name: sources[name] for name in RECORDS})
    lost = f"SELECT dataset, filename, file_row_number FROM {_CONTESTED} WHERE rank > 1"
    return [
        *variables,
        f"CREATE OR REPLACE TEMP TABLE {_CONTESTED} AS {contested}",
        f"CREATE OR REPLACE TEMP TABLE {_LOST} AS {lost}",
        *children,
        f"DROP TABLE {_CONTESTED}",
    ]


def _forgotten() -> list[str]:
    """Which rows were forgotten and may still be in files."""
    listed = ", ".join(f"{name} VARCHAR[]" for name in ("session_ids", "trace_ids", "record_ids"))
    columns = f"STRUCT({listed}, user_hash VARCHAR, since_unix_nano BIGINT, applied_version BIGINT)[]"
    path = "getvariable('headgate_root') || '/forgotten.json'"
    some = (
        f"SELECT unnest(forgotten, recursive := true) FROM read_json({path}, format = 'unstructured', "
        f"maximum_object_size = 2000000000, columns = {{forgotten: '{columns}'}})"
    )
    names = "session_ids, trace_ids, record_ids, user_hash, since_unix_nano, applied_version"
    nothing = (
        "SELECT []::VARCHAR[] AS session_ids, []::VARCHAR[] AS trace_ids, []::VARCHAR[] AS record_ids, "
        "NULL::VARCHAR AS user_hash, 0::BIGINT AS since_unix_nano, 0::BIGINT AS applied_version WHERE false"
    )
    there = "getvariable('headgate_has_forgotten') > 0"
    found = f"query(CASE WHEN {there} THEN {text(some)} ELSE {text(nothing)} END)"
    users = (
        f"SELECT user_hash AS name, max(since_unix_nano) AS since FROM {_FORGOTTEN} "
        "WHERE user_hash IS NOT NULL GROUP BY ALL"
    )
    statements = [
        f"SET VARIABLE headgate_has_forgotten = (SELECT count(*) FROM glob({path}))",
        f"CREATE OR REPLACE TEMP TABLE {_FORGOTTEN} AS SELECT {names} FROM {found}",
        *(
            f"CREATE OR REPLACE TEMP TABLE {_FORGOTTEN}_{name}s AS SELECT DISTINCT unnest({name}_ids) AS name "
            f"FROM {_FORGOTTEN}"
            for name in ("trace", "session", "record")
        ),
        f"CREATE OR REPLACE TEMP TABLE {_FORGOTTEN}_users AS {users}",
        f"CREATE OR REPLACE TEMP TABLE {_HIDDEN} (record_id VARCHAR)",
    ]
    doubtful = f"live_version > (SELECT min(applied_version) FROM {_FORGOTTEN})"
    for dataset in (*RECORDS, *CHILD_KEYS):
        variable = _name(dataset, "doubtful")
        source = _listed(variable, dataset, placed=True)
        query = (
            hidden_sql(dataset, source, _FORGOTTEN)
            if dataset in RECORDS
            else hidden_children_sql(source, _FORGOTTEN, _HIDDEN)
        )
        statements += [
            _variable(variable, f"dataset = {text(dataset)} AND NOT derived AND {doubtful}"),
            f"CREATE OR REPLACE TEMP TABLE {_FOUND} AS {query}",
            f"INSERT INTO {_LOST} SELECT {text(dataset)}, filename, file_row_number FROM {_FOUND}",
            *([f"INSERT INTO {_HIDDEN} SELECT record_id FROM {_FOUND}"] if dataset in RECORDS else []),
        ]
    return statements


def _empty(table: SqlTable) -> str:
    columns = ", ".join(f"{quote(column.name)} {column.type}" for column in table.columns)
    return f"CREATE OR REPLACE TEMP TABLE {_name('no', table.name)} ({columns})"


def _source(dataset: str) -> Source:
    columns = f"{', '.join(SOURCE_COLUMNS[dataset])}, filename, file_row_number"
    settled, unsettled = (
        f"SELECT {columns} FROM ({_listed(_name(dataset, kind), dataset, placed=True)})"
        for kind in ("settled", "unsettled")
    )
    return Source(settled=settled, unsettled=unsettled)


def _raw_view(table: SqlTable) -> list[str]:
    mine = f"dataset = {text(table.name)}"
    lost = f"(SELECT filename FROM {_LOST} WHERE {mine})"
    whole, partly = _name(table.name, "whole"), _name(table.name, "partly")
    remaining = (
        f"SELECT * FROM ({_listed(partly, table.name, placed=True)}) "
        f"ANTI JOIN (SELECT * FROM {_LOST} WHERE {mine}) USING (filename, file_row_number)"
    )
    return [
        _variable(whole, f"{mine} AND NOT derived AND filename NOT IN {lost}"),
        _variable(partly, f"{mine} AND NOT derived AND filename IN {lost}"),
        _view(table, [_listed(whole, table.name), remaining]),
    ]


def _current() -> list[str]:
    """Which revision of each session counts."""
    variables = [
        _variable(_name("versions", kind), f"dataset = '{VERSION.name}' AND derived AND {settled}")
        for kind, settled in (("settled", "settled"), ("fresh", "NOT settled"))
    ]
    fresh, settled = (
        f"SELECT DISTINCT {KEY} FROM ({_listed(_name('versions', kind), 'versions')})" for kind in ("fresh", "settled")
    )
    removed = f"SELECT {TOMBSTONE.names} FROM ({_listed('headgate_removed', 'removed')})"
    current = current_sql(fresh=fresh, settled=settled, removed=removed)
    stale = stale_sql(fresh=fresh, settled=settled, removed=removed, current=_CURRENT)
    return [
        _empty(SqlTable(name="versions", columns=VERSION.columns)),
        _empty(SqlTable(name="removed", columns=TOMBSTONE.columns)),
        *variables,
        _variable("headgate_removed", f"dataset = '{TOMBSTONE.name}' AND derived"),
        f"CREATE OR REPLACE TEMP TABLE {_CURRENT} AS {current}",
        f"CREATE OR REPLACE TEMP TABLE {_STALE} AS {stale}",
        f"INSERT INTO {_STALE} SELECT name FROM {_FORGOTTEN}_sessions",
        f"DELETE FROM {_CURRENT} WHERE session_id IN (FROM {_FORGOTTEN}_sessions)",
    ]


def _derived_view(table: SqlTable) -> list[str]:
    mine = f"dataset = {text(table.name)} AND derived"
    settled, fresh = _name(table.name, "settled"), _name(table.name, "fresh")
    # With no file there is no write sequence to join on; with no row there is nothing to find.
    current = f"SELECT *, NULL::BIGINT AS {SEQUENCE} FROM {_name('no', table.name)}"
    queries = [
        f"SELECT * FROM ({_listed(settled, table.name)}) ANTI JOIN {_STALE} USING (session_id)",
        f"SELECT * FROM ({current} UNION ALL BY NAME {_listed(fresh, table.name)}) SEMI JOIN {_CURRENT} USING ({KEY})",
    ]
    return [
        _variable(settled, f"{mine} AND settled"),
        _variable(fresh, f"{mine} AND NOT settled"),
        _view(table, queries),
    ]


def _view(table: SqlTable, queries: Sequence[str]) -> str:
    rows = "\nUNION ALL BY NAME\n".join(queries)
    return f"CREATE OR REPLACE TEMP VIEW {quote(table.name)} AS\nSELECT {table.shown}\nFROM (\n{rows}\n)"


def _name(dataset: str, kind: str) -> str:
    return f"headgate_{dataset}_{kind}"


def _variable(name: str, condition: str) -> str:
    return f"SET VARIABLE {name} = (SELECT coalesce(list(filename), []::VARCHAR[]) FROM {_FILES} WHERE {condition})"


def _listed(variable: str, dataset: str, *, placed: bool = False) -> str:
    """The rows of the files that a variable lists: DuckDB refuses to read an empty list, so none is read then.

    `placed` adds `filename` and `file_row_number`.
    """
    nothing = f"SELECT *{f', {_NO_PLACE}' if placed else ''} FROM {_name('no', dataset)}"
    files = f"read_parquet(getvariable({text(variable)}), union_by_name = true, hive_partitioning = false)"
    some = f"{nothing} UNION ALL BY NAME SELECT *{', filename, file_row_number' if placed else ''} FROM {files}"
    return f"FROM query(CASE WHEN len(getvariable({text(variable)})) = 0 THEN {text(nothing)} ELSE {text(some)} END)"
