"""The rows of raw datasets in one snapshot: files and unsealed segments, without the versions that lost."""

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from headgate_processors.schema import DATASETS
from headgate_processors.store.forgotten import (
    FORGET_COLUMNS,
    Tombstone,
    hidden_children_sql,
    hidden_sql,
    tombstone_tables,
)
from headgate_processors.store.manifest import LiveFile
from headgate_processors.store.relation import SqlTable, parquet, quote, sql_type, text, union
from headgate_processors.store.repeats import (
    CHILD_KEYS,
    RECORDS,
    SOURCE_COLUMNS,
    Source,
    contested_sql,
    lost_children_sql,
)
from headgate_processors.store.snapshot import Snapshot

PRIVATE = "store"
LOST = f"{PRIVATE}.lost"

_CONTESTED = f"{PRIVATE}.contested"
_FORGOTTEN = f"{PRIVATE}.forgotten"
_HIDDEN = f"{PRIVATE}.hidden_records"
_FOUND = "forgotten_rows"
_PART_ROWS = 2_000_000


class RawRows:
    """Gives queries over one snapshot on one connection, whose schema `store` holds what is between.

    The table `store.lost` lists, by dataset and file, the numbers of the rows that another version replaced, and of
    those that were forgotten.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
        self._connection, self._snapshot = connection, snapshot
        self._hot: dict[str, dict[bool, pa.Table]] = {}
        for settled, tables in ((True, snapshot.hot), (False, snapshot.hot_unsettled)):
            for dataset, rows in tables.items():
                # DuckDB scans Arrow on several threads, so a row's number has to come with it.
                numbered = rows.append_column("file_row_number", pa.arange(0, rows.num_rows))
                self._hot.setdefault(dataset, {})[settled] = numbered
                connection.register(hot_name(dataset, settled=settled), numbered)
        connection.execute(f"CREATE TABLE {LOST} (dataset VARCHAR, filename VARCHAR, file_row_number BIGINT)")
        self._find_lost()
        if snapshot.forgotten:
            self._find_forgotten(snapshot.forgotten)
        self.touched: Mapping[str, frozenset[str]] = self._touched()

    def query(self, table: SqlTable) -> str:
        """All rows of one dataset, each once."""
        touched = self.touched.get(table.name, frozenset())
        files = self._snapshot.manifest.of(table.name)
        queries = []
        if whole := [file for file in files if self._path(file) not in touched]:
            queries.append(f"SELECT * FROM {self._parquet(whole)}")
        if partly := [file for file in files if self._path(file) in touched]:
            queries.append(
                f"SELECT * FROM {self._parquet(partly)} AS f "
                f"ANTI JOIN (SELECT * FROM {LOST} WHERE dataset = {text(table.name)}) AS l "
                "ON f.filename = l.filename AND f.file_row_number = l.file_row_number"
            )
        for settled, rows in self._hot.get(table.name, {}).items():
            name = hot_name(table.name, settled=settled)
            if name in touched:
                gone = set(self.lost_rows(table.name, name))
                self._connection.unregister(name)
                kept = rows.filter(pa.array([row not in gone for row in range(rows.num_rows)]))
                self._connection.register(name, kept)
            queries.append(f"SELECT * FROM {quote(name)}")
        return union(queries, table)

    def is_touched(self, file: LiveFile) -> bool:
        """Whether a file holds a row that another version replaced."""
        return self._path(file) in self.touched.get(file.dataset, ())

    def lost_rows_of(self, file: LiveFile) -> Sequence[int]:
        """The numbers of the rows of one file that another version replaced."""
        return self.lost_rows(file.dataset, self._path(file)) if self.is_touched(file) else ()

    def lost_rows(self, dataset: str, filename: str) -> Sequence[int]:
        """As `lost_rows_of`, for a file or a registered name."""
        query = f"SELECT file_row_number FROM {LOST} WHERE dataset = ? AND filename = ?"
        return [row for (row,) in self._connection.execute(query, [dataset, filename]).fetchall()]

    def _find_lost(self) -> None:
        doubtful = [dataset for dataset in RECORDS if self._unsettled_rows(dataset)]
        if not doubtful:
            return
        sources = {dataset: self._source(dataset) for dataset in doubtful}
        parts = 1 + sum(self._unsettled_rows(dataset) for dataset in doubtful) // _PART_ROWS
        for part in range(parts):
            start = f"CREATE TABLE {_CONTESTED} AS" if part == 0 else f"INSERT INTO {_CONTESTED}"
            self._connection.execute(f"{start} {contested_sql(sources, part=part, parts=parts)}")
        self._connection.execute(
            f"INSERT INTO {LOST} SELECT dataset, filename, file_row_number FROM {_CONTESTED} WHERE rank > 1"
        )
        if self._touched():
            for child in CHILD_KEYS:
                lost = lost_children_sql(child, self._source(child).every, _CONTESTED)
                self._connection.execute(f"INSERT INTO {LOST} SELECT {text(child)}, * FROM ({lost})")
        self._connection.execute(f"DROP TABLE {_CONTESTED}")

    def _find_forgotten(self, tombstones: Sequence[Tombstone]) -> None:
        """Add what was forgotten, in the files that may still hold it."""
        since = min(one.applied_version for one in tombstones)
        for statement in tombstone_tables(_FORGOTTEN, tombstones):
            self._connection.execute(statement)
        self._connection.execute(f"CREATE TABLE {_HIDDEN} (record_id VARCHAR)")
        found = f"CREATE OR REPLACE TEMP TABLE {_FOUND} AS"
        for dataset in (*RECORDS, *CHILD_KEYS):
            source = self._columns(dataset, FORGET_COLUMNS[dataset], newer_than=since)
            if source is None:
                continue
            if dataset in RECORDS:
                self._connection.execute(f"{found} {hidden_sql(dataset, source, _FORGOTTEN)}")
                self._connection.execute(f"INSERT INTO {_HIDDEN} SELECT record_id FROM {_FOUND}")
            else:
                self._connection.execute(f"{found} {hidden_children_sql(source, _FORGOTTEN, _HIDDEN)}")
            self._connection.execute(
                f"INSERT INTO {LOST} SELECT {text(dataset)}, filename, file_row_number FROM {_FOUND} "
                f"ANTI JOIN (FROM {LOST} WHERE dataset = {text(dataset)}) USING (filename, file_row_number)"
            )

    def _columns(self, dataset: str, names: Sequence[str], *, newer_than: int) -> str | None:
        """A query of columns, filename and row number, over files that became live later and over unsealed rows."""
        columns = ", ".join(names)
        files = [file for file in self._snapshot.manifest.of(dataset) if file.live_version > newer_than]
        queries = [f"SELECT {columns}, filename, file_row_number FROM {self._parquet(files)}"] if files else []
        for settled in self._hot.get(dataset, {}):
            name = hot_name(dataset, settled=settled)
            queries.append(f"SELECT {columns}, {text(name)} AS filename, file_row_number FROM {quote(name)}")
        return "\nUNION ALL\n".join(queries) or None

    def _touched(self) -> dict[str, frozenset[str]]:
        query = f"SELECT dataset, list(DISTINCT filename) FROM {LOST} GROUP BY dataset"
        return {dataset: frozenset(names) for dataset, names in self._connection.execute(query).fetchall()}

    def _unsettled_rows(self, dataset: str) -> int:
        files = sum(file.rows for file in self._snapshot.manifest.of(dataset) if not file.settled)
        hot = self._hot.get(dataset, {}).get(False)
        return files + (hot.num_rows if hot is not None else 0)

    def _source(self, dataset: str) -> Source:
        return Source(settled=self._numbered(dataset, settled=True), unsettled=self._numbered(dataset, settled=False))

    def _numbered(self, dataset: str, *, settled: bool) -> str:
        names = SOURCE_COLUMNS[dataset]
        types = {field.name: sql_type(field.type) for field in DATASETS[dataset].schema}
        nothing = ", ".join(f"NULL::{types[name]} AS {name}" for name in names)
        queries = [f"SELECT {nothing}, NULL::VARCHAR AS filename, NULL::BIGINT AS file_row_number WHERE false"]
        columns = ", ".join(names)
        if files := [file for file in self._snapshot.manifest.of(dataset) if file.settled is settled]:
            queries.append(f"SELECT {columns}, filename, file_row_number FROM {self._parquet(files)}")
        if settled in self._hot.get(dataset, {}):
            name = hot_name(dataset, settled=settled)
            queries.append(f"SELECT {columns}, {text(name)} AS filename, file_row_number FROM {quote(name)}")
        return "\nUNION ALL\n".join(queries)

    def _parquet(self, files: Sequence[LiveFile]) -> str:
        return parquet([self._path(file) for file in files], mixed=len({file.schema_id for file in files}) > 1)

    def _path(self, file: LiveFile) -> str:
        return f"{self._snapshot.root}/{file.path}"


def hot_name(dataset: str, *, settled: bool) -> str:
    """The name under which unsealed rows are registered."""
    return f"hot:{dataset}" if settled else f"hot:{dataset}:unsettled"
