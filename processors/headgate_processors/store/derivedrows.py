"""The current rows of derived tables in one snapshot: highest revision of each session, removed ones left out."""

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow.parquet as pq

from headgate_processors.schema import Dataset
from headgate_processors.store.derived import REMOVED, SEQUENCE, SESSIONS
from headgate_processors.store.manifest import LiveFile
from headgate_processors.store.rawrows import PRIVATE
from headgate_processors.store.relation import SqlColumn, SqlTable, parquet, union
from headgate_processors.store.snapshot import Snapshot

_KEY = (
    SqlColumn(name="session_id", type="VARCHAR"),
    SqlColumn(name="revision", type="BIGINT"),
    SqlColumn(name=SEQUENCE, type="BIGINT"),
)
_VERSIONS = SqlTable(name=SESSIONS, columns=_KEY)
_TOMBSTONES = SqlTable(name=REMOVED, columns=(_KEY[0], _KEY[2]))


class DerivedRows:
    """Gives queries over one snapshot on one connection, which has the schema `store` for what is between."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, declared: Mapping[str, Dataset]
    ) -> None:
        self._connection, self._snapshot, self._declared = connection, snapshot, declared
        self.tables = self._tables()
        connection.execute(f"CREATE TABLE {PRIVATE}.current AS {self._current()}")
        connection.execute(f"CREATE TABLE {PRIVATE}.stale AS {self._stale()}")
        self.has_stale = bool(connection.execute(f"SELECT 1 FROM {PRIVATE}.stale LIMIT 1").fetchall())

    def query(self, table: SqlTable) -> str:
        """The current rows of one table."""
        files = self._files(table.name)
        return union([self.rows_of(files)] if files else [], table)

    def rows_of(self, files: Sequence[LiveFile]) -> str:
        """The current rows in some files of one table, with their write sequence."""
        queries = []
        if settled := [file for file in files if file.settled]:
            restated = f" ANTI JOIN {PRIVATE}.stale USING (session_id)" if self.has_stale else ""
            queries.append(f"SELECT * FROM {self._parquet(settled)}{restated}")
        if fresh := [file for file in files if not file.settled]:
            key = ", ".join(column.name for column in _KEY)
            queries.append(f"SELECT * FROM {self._parquet(fresh)} SEMI JOIN {PRIVATE}.current USING ({key})")
        return "\nUNION ALL BY NAME\n".join(queries)

    def is_touched(self, file: LiveFile) -> bool:
        """Whether a settled file holds rows that no longer count."""
        query = f"SELECT 1 FROM {self._parquet([file])} SEMI JOIN {PRIVATE}.stale USING (session_id) LIMIT 1"
        return self.has_stale and bool(self._connection.execute(query).fetchall())

    def _current(self) -> str:
        """Of every session in a file that is not settled: the version that counts, unless it was removed."""
        return f"""
WITH fresh AS ({self._versions(_VERSIONS, settled=False)}),
removed AS (
  SELECT session_id, max({SEQUENCE}) AS removed_sequence FROM ({self._versions(_TOMBSTONES)}) GROUP BY session_id
),
versions AS (
  SELECT * FROM fresh
  UNION ALL
  SELECT * FROM ({self._versions(_VERSIONS, settled=True)})
    SEMI JOIN (SELECT session_id FROM fresh UNION ALL SELECT session_id FROM removed) USING (session_id)
)
SELECT session_id, revision, {SEQUENCE} FROM versions LEFT JOIN removed USING (session_id)
WHERE removed_sequence IS NULL OR {SEQUENCE} >= removed_sequence
QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC, {SEQUENCE} DESC) = 1"""

    def _stale(self) -> str:
        """Sessions whose rows in settled files no longer count."""
        return f"""
WITH settled AS ({self._versions(_VERSIONS, settled=True)}),
touched AS (
  SELECT session_id FROM ({self._versions(_VERSIONS, settled=False)})
  UNION SELECT session_id FROM ({self._versions(_TOMBSTONES)})
)
SELECT DISTINCT session_id FROM touched
WHERE NOT EXISTS (
  FROM settled SEMI JOIN {PRIVATE}.current USING (session_id, revision, {SEQUENCE})
  WHERE settled.session_id = touched.session_id
)"""

    def _versions(self, table: SqlTable, *, settled: bool | None = None) -> str:
        files = self._files(table.name, settled=settled)
        found = [f"SELECT DISTINCT {table.names} FROM {self._parquet(files)}"] if files else []
        return f"SELECT {table.names} FROM ({union(found, table)})"

    def _tables(self) -> Sequence[SqlTable]:
        tables = {name: SqlTable.of(dataset) for name, dataset in self._declared.items()}
        for file in self._snapshot.manifest.files:
            if file.derived and file.dataset != REMOVED and file.dataset not in tables:
                schema = pq.read_schema(self._path(file))
                shown = schema.remove(schema.get_field_index(SEQUENCE))
                tables[file.dataset] = SqlTable.of_schema(file.dataset, shown)
        return list(tables.values())

    def _files(self, table: str, *, settled: bool | None = None) -> Sequence[LiveFile]:
        files = self._snapshot.manifest.of(table, derived=True)
        return [file for file in files if settled is None or file.settled is settled]

    def _parquet(self, files: Sequence[LiveFile]) -> str:
        return parquet([self._path(file) for file in files], mixed=len({file.schema_id for file in files}) > 1)

    def _path(self, file: LiveFile) -> str:
        return str(self._snapshot.root / file.path)
