"""The current rows of derived tables in one snapshot: highest revision of each session, removed ones left out."""

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from headgate_processors.schema import Dataset
from headgate_processors.store.manifest import LiveFile
from headgate_processors.store.rawrows import PRIVATE
from headgate_processors.store.relation import SqlTable, parquet, text, union
from headgate_processors.store.revisions import KEY, REMOVED, SEQUENCE, TOMBSTONE, VERSION, current_sql, stale_sql
from headgate_processors.store.snapshot import Snapshot

_CURRENT = f"{PRIVATE}.current"
_STALE = f"{PRIVATE}.stale"
_GONE = f"{PRIVATE}.gone_sessions"
_FRESH, _SETTLED, _REMOVED = (f"{PRIVATE}.{kind}_versions" for kind in ("fresh", "settled", "removed"))


class DerivedRows:
    """Gives queries over one snapshot on one connection, which has the schema `store` for what is between.

    `written_before` leaves out sessions whose last revision is older; `has_gone` says whether there are such.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        declared: Mapping[str, Dataset],
        *,
        written_before: int | None = None,
    ) -> None:
        self._connection, self._snapshot, self._declared = connection, snapshot, declared
        self.tables = self._tables()
        self._note_versions()
        noted = {"fresh": f"FROM {_FRESH}", "settled": f"FROM {_SETTLED}", "removed": f"FROM {_REMOVED}"}
        connection.execute(f"CREATE TABLE {_CURRENT} AS {current_sql(**noted)}")
        connection.execute(f"CREATE TABLE {_STALE} AS {stale_sql(**noted, current=_CURRENT)}")
        self.has_gone = self._leave_out(written_before)
        self.has_stale = bool(connection.execute(f"SELECT 1 FROM {_STALE} LIMIT 1").fetchall())

    def query(self, table: SqlTable) -> str:
        """The current rows of one table."""
        files = self._files(table.name)
        return union([self.rows_of(files)] if files else [], table)

    def rows_of(self, files: Sequence[LiveFile]) -> str:
        """The current rows in some files of one table, with their write sequence."""
        queries = []
        if settled := [file for file in files if file.settled]:
            restated = f" ANTI JOIN {_STALE} USING (session_id)" if self.has_stale else ""
            queries.append(f"SELECT * FROM {self._parquet(settled)}{restated}")
        if fresh := [file for file in files if not file.settled]:
            queries.append(f"SELECT * FROM {self._parquet(fresh)} SEMI JOIN {_CURRENT} USING ({KEY})")
        return "\nUNION ALL BY NAME\n".join(queries)

    def is_touched(self, file: LiveFile) -> bool:
        """Whether a settled file holds rows that no longer count."""
        query = f"SELECT 1 FROM {self._parquet([file])} SEMI JOIN {_STALE} USING (session_id) LIMIT 1"
        return self.has_stale and bool(self._connection.execute(query).fetchall())

    def _note_versions(self) -> None:
        """Read once what tells which revisions count; of what is settled, only sessions that were touched since."""
        fresh, removed = self._versions(VERSION, settled=False), self._versions(TOMBSTONE)
        are_touched = bool(self._files(VERSION.name, settled=False) or self._files(TOMBSTONE.name))
        settled = self._versions(VERSION, settled=True) if are_touched else VERSION.nothing
        touched = f"SELECT session_id FROM {_FRESH} UNION ALL SELECT session_id FROM {_REMOVED}"
        for name, query in (
            (_FRESH, f"SELECT DISTINCT * FROM ({fresh})"),
            (_REMOVED, removed),
            (_SETTLED, f"SELECT * FROM ({settled}) SEMI JOIN ({touched}) USING (session_id)"),
        ):
            self._connection.execute(f"CREATE TABLE {name} AS {query}")

    def _leave_out(self, written_before: int | None) -> bool:
        """Hide sessions that are over, and those that were forgotten; whether any file holds one."""
        forgotten = sorted({name for one in self._snapshot.forgotten for name in one.session_ids})
        if written_before is None and not forgotten:
            return False
        over = "false" if written_before is None else f"max({SEQUENCE}) < {written_before}"
        listed = f"[{', '.join(map(text, forgotten))}]::VARCHAR[]"
        connection = self._connection
        connection.execute(
            f"CREATE TABLE {_GONE} AS SELECT session_id FROM ({self._versions(VERSION)}) GROUP BY session_id "
            f"HAVING {over} OR session_id IN (SELECT unnest({listed}))"
        )
        connection.execute(f"INSERT INTO {_STALE} SELECT session_id FROM {_GONE}")
        connection.execute(f"DELETE FROM {_CURRENT} WHERE session_id IN (FROM {_GONE})")
        return bool(connection.execute(f"SELECT 1 FROM {_GONE} LIMIT 1").fetchall())

    def _versions(self, table: SqlTable, *, settled: bool | None = None) -> str:
        files = self._files(table.name, settled=settled)
        found = [f"SELECT {table.names} FROM {self._parquet(files)}"] if files else []
        return f"SELECT {table.names} FROM ({union(found, table)})"

    def _tables(self) -> Sequence[SqlTable]:
        tables = {name: SqlTable.of(dataset) for name, dataset in self._declared.items()}
        for file in self._snapshot.manifest.files:
            if file.derived and file.dataset != REMOVED and file.dataset not in tables:
                schema = _schema(self._path(file))
                shown = schema.remove(schema.get_field_index(SEQUENCE))
                tables[file.dataset] = SqlTable.of_schema(file.dataset, shown)
        return list(tables.values())

    def _files(self, table: str, *, settled: bool | None = None) -> Sequence[LiveFile]:
        files = self._snapshot.manifest.of(table, derived=True)
        return [file for file in files if settled is None or file.settled is settled]

    def _parquet(self, files: Sequence[LiveFile]) -> str:
        return parquet([self._path(file) for file in files], mixed=len({file.schema_id for file in files}) > 1)

    def _path(self, file: LiveFile) -> str:
        return f"{self._snapshot.root}/{file.path}"


def _schema(path: str) -> pa.Schema:
    """The columns of a table that nobody declared."""
    from pyarrow.parquet import read_schema  # noqa: PLC0415 - every table of ours is declared.

    return read_schema(path)
