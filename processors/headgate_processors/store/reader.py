"""Queries: one DuckDB connection over sealed files and unsealed segments, taken as one snapshot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import duckdb
import pyarrow as pa

from headgate_processors.schema import DATASETS, Dataset
from headgate_processors.store.config import ReaderConfig
from headgate_processors.store.manifest import LiveFile
from headgate_processors.store.relation import SqlTable, parquet, quote, text, union
from headgate_processors.store.repeats import CHILD_KEYS, RECORDS, Source, contested_sql, lost_children_sql
from headgate_processors.store.sandbox import check_statement, lock_down, open_connection
from headgate_processors.store.snapshot import Snapshot, take_snapshot

_HOT = "hot:"
_CONTESTED = "contested"


class StoreReader:
    """Reads a store that any process may be writing; takes no lock and writes nothing."""

    def __init__(self, folder: Path, *, derived: Mapping[str, Dataset] = MappingProxyType({}), config: ReaderConfig = ReaderConfig()) -> None:
        self._folder, self._derived, self._config = folder.absolute(), derived, config

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with every view defined, good for the grace after which replaced files are deleted.

        It shows the store as it was at this moment; take another for a later question. Use the connection itself:
        its cursors do not see unsealed rows. Give SQL of users to `query`, which lets only queries pass.

        Raises:
            StoreError: there is no store, or it is newer or damaged.
        """
        snapshot = take_snapshot(self._folder, attempts=self._config.snapshot_attempts)
        connection = open_connection(self._config)
        try:
            raw = _RawViews(connection=connection, snapshot=snapshot)
            raw.define()
            lock_down(connection, [str(snapshot.root / file.path) for file in snapshot.manifest.files])
        except BaseException:
            connection.close()
            raise
        return connection

    def query(self, sql: str) -> pa.Table:
        """The result of one query by a user.

        Raises:
            StoreError: it is no query, or there is no store.
            duckdb.Error: DuckDB could not answer it.
        """
        with self.connect() as connection:
            check_statement(connection, sql)
            return connection.sql(sql).to_arrow_table()


@dataclass(slots=True, kw_only=True)
class _RawViews:
    """Defines the raw views of one snapshot on one connection."""

    connection: duckdb.DuckDBPyConnection
    snapshot: Snapshot
    lost: dict[str, set[tuple[str, int]]] = field(default_factory=dict)

    def define(self) -> None:
        """Register unsealed rows, find what lost, create the views."""
        for settled, tables in ((True, self.snapshot.hot), (False, self.snapshot.hot_unsettled)):
            for dataset, table in tables.items():
                self.connection.register(_hot_name(dataset, settled=settled), table)
        self._find_lost()
        for dataset in DATASETS.values():
            table = SqlTable.of(dataset)
            self.connection.execute(f"CREATE VIEW {quote(dataset.name)} AS SELECT {table.shown} FROM ({self._rows(table)})")

    def _find_lost(self) -> None:
        unsettled = [dataset for dataset in RECORDS if self._files(dataset, settled=False) or dataset in self.snapshot.hot_unsettled]
        if not unsettled:
            return
        sources = {dataset: self._source(dataset) for dataset in unsettled}
        self.connection.execute(f"CREATE TEMP TABLE {_CONTESTED} AS {contested_sql(sources)}")
        lost = self.connection.execute(f"SELECT dataset, filename, file_row_number FROM {_CONTESTED} WHERE rank > 1").fetchall()
        for dataset, filename, row in lost:
            self.lost.setdefault(dataset, set()).add((filename, row))
        if lost:
            for child in CHILD_KEYS:
                source = self._source(child)
                query = lost_children_sql(child, f"{source.settled}\nUNION ALL BY NAME\n{source.unsettled}", _CONTESTED)
                self.lost[child] = {(filename, row) for filename, row in self.connection.execute(query).fetchall()}
        self.connection.execute(f"DROP TABLE {_CONTESTED}")

    def _source(self, dataset: str) -> Source:
        return Source(settled=self._numbered(dataset, settled=True), unsettled=self._numbered(dataset, settled=False))

    def _numbered(self, dataset: str, *, settled: bool) -> str:
        """Every row with the file that holds it and its number there."""
        nothing = SqlTable.of(DATASETS[dataset]).nothing
        queries = [f"SELECT *, NULL::VARCHAR AS filename, NULL::BIGINT AS file_row_number FROM ({nothing})"]
        if files := self._files(dataset, settled=settled):
            queries.append(f"SELECT *, filename, file_row_number FROM {self._parquet(files)}")
        if dataset in (self.snapshot.hot if settled else self.snapshot.hot_unsettled):
            name = _hot_name(dataset, settled=settled)
            queries.append(f"SELECT *, {text(name)} AS filename, row_number() OVER () - 1 AS file_row_number FROM {quote(name)}")
        return "\nUNION ALL BY NAME\n".join(queries)

    def _rows(self, table: SqlTable) -> str:
        files = self._files(table.name)
        lost = self.lost.get(table.name, set())
        touched = {filename for filename, _ in lost}
        clean = [file for file in files if self._path(file) not in touched]
        mixed = [file for file in files if self._path(file) in touched]
        queries = [f"SELECT * FROM {self._parquet(clean)}"] if clean else []
        if mixed:
            self._keep_lost(table.name, lost)
            queries.append(f"SELECT * FROM {self._parquet(mixed)} AS f ANTI JOIN {quote('lost_' + table.name)} AS l ON f.filename = l.filename AND f.file_row_number = l.file_row_number")
        for settled, tables in ((True, self.snapshot.hot), (False, self.snapshot.hot_unsettled)):
            if table.name in tables:
                name = _hot_name(table.name, settled=settled)
                self._drop_lost(name, tables[table.name], {row for filename, row in lost if filename == name})
                queries.append(f"SELECT * FROM {quote(name)}")
        return union(queries, table)

    def _keep_lost(self, dataset: str, lost: set[tuple[str, int]]) -> None:
        name = quote("lost_" + dataset)
        rows = pa.table({"filename": [filename for filename, _ in lost], "file_row_number": pa.array([row for _, row in lost], pa.int64())})
        self.connection.register("lost_rows", rows)
        self.connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM lost_rows")
        self.connection.unregister("lost_rows")

    def _drop_lost(self, name: str, table: pa.Table, rows: set[int]) -> None:
        if rows:
            keep = pa.array([row not in rows for row in range(table.num_rows)])
            self.connection.unregister(name)
            self.connection.register(name, table.filter(keep))

    def _files(self, dataset: str, *, settled: bool | None = None) -> Sequence[LiveFile]:
        return [file for file in self.snapshot.manifest.of(dataset) if settled is None or file.settled is settled]

    def _parquet(self, files: Sequence[LiveFile]) -> str:
        return parquet([self._path(file) for file in files], mixed=len({file.schema_id for file in files}) > 1)

    def _path(self, file: LiveFile) -> str:
        return str(self.snapshot.root / file.path)


def _hot_name(dataset: str, *, settled: bool) -> str:
    return f"{_HOT}{dataset}{'' if settled else ':unsettled'}"
