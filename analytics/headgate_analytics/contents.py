"""Redacted content that rows show, out of the content files: tasks, canonical arguments, requested calls."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from headgate_analytics.gather import SESSION, Wanted
from headgate_analytics.reconstruct import SessionContent, requested_arguments
from headgate_processors.store.relation import parquet

CONTENT_COLUMNS = ("record_id", "field", "attribute", "text")
KEYLESS = "keyless"
_SHOWN = (
    "(field = 'task' AND attribute = 'task' OR field = 'tool_arguments' AND attribute = 'canonical'"
    " OR field = 'requested_tools')"
)
_BATCH_ROWS = 16_384


def shown_content(connection: duckdb.DuckDBPyConnection, files: Sequence[Path], wanted: Wanted) -> Iterator[pa.Table]:
    """Content of records in wanted traces: the session's number and `CONTENT_COLUMNS`."""
    if not files:
        return
    query = (
        f"SELECT 'trace' || chr(0) || tenant || chr(0) || trace_id AS anchor, {', '.join(CONTENT_COLUMNS)}"
        f" FROM {_parquet(files)} WHERE {_SHOWN} AND trace_id IS NOT NULL"
    )
    for batch in connection.sql(query).to_arrow_reader(_BATCH_ROWS):
        sessions = wanted.sessions_of(batch.column("anchor"))
        kept = pa.table(batch.drop_columns(["anchor"])).append_column(SESSION, sessions)
        if sessions.null_count:
            kept = kept.filter(sessions.is_valid())
        if kept.num_rows:
            yield kept


def keyless_content(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path], keyless: pa.dataset.Dataset | pa.Table
) -> Iterator[pa.Table]:
    """As `shown_content` for records without a trace: `keyless` has their `record_id` and session."""
    if not files:
        return
    connection.register(KEYLESS, keyless)
    query = (
        f"SELECT {', '.join(CONTENT_COLUMNS)}, {SESSION} FROM {_parquet(files)} JOIN {KEYLESS} USING (record_id)"
        f" WHERE {_SHOWN} AND trace_id IS NULL"
    )
    for batch in connection.sql(query).to_arrow_reader(_BATCH_ROWS):
        if batch.num_rows:
            yield pa.Table.from_batches([batch])
    connection.unregister(KEYLESS)


def content_by_session(table: pa.Table | None) -> Mapping[int, SessionContent]:
    """The content of each session; of two texts for one place the first in order counts."""
    if table is None:
        return {}
    tasks: dict[int, dict[str, str]] = {}
    arguments: dict[int, dict[str, str]] = {}
    requested: dict[int, list[str]] = {}
    rows = zip(*(table.column(name).to_pylist() for name in (SESSION, *CONTENT_COLUMNS)), strict=True)
    for session, record_id, name, _, text in sorted(rows):
        if name == "task":
            tasks.setdefault(session, {}).setdefault(record_id, text)
        elif name == "tool_arguments":
            arguments.setdefault(session, {}).setdefault(record_id, text)
        elif text not in (listed := requested.setdefault(session, [])):
            listed.append(text)
    return {
        session: SessionContent(
            tasks=tasks.get(session, {}),
            arguments=arguments.get(session, {}),
            requested=requested_arguments(requested.get(session, [])),
        )
        for session in tasks.keys() | arguments.keys() | requested.keys()
    }


def _parquet(files: Sequence[Path]) -> str:
    return parquet([str(path) for path in files], mixed=True)
