"""Queries: one DuckDB connection over sealed files and unsealed segments, taken as one snapshot."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import duckdb
import pyarrow as pa

from headgate_processors.errors import StoreError
from headgate_processors.schema import DATASETS, Dataset
from headgate_processors.store.check import damaged_files, require_files
from headgate_processors.store.config import ReaderConfig
from headgate_processors.store.derivedrows import DerivedRows
from headgate_processors.store.manifest import read_manifest
from headgate_processors.store.rawrows import PRIVATE, RawRows
from headgate_processors.store.relation import SqlTable, quote
from headgate_processors.store.sandbox import check_statement, lock_down, open_connection
from headgate_processors.store.snapshot import Snapshot, take_snapshot

_FAULTS_OF_THE_QUERY = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.DataError,
    duckdb.PermissionException,
    duckdb.OutOfMemoryException,
)


class StoreReader:
    """Reads a store that any process may be writing; takes no lock and writes nothing.

    `derived` declares the derived tables, so that those without a row are views too.
    """

    def __init__(
        self,
        folder: Path,
        *,
        derived: Mapping[str, Dataset] = MappingProxyType({}),
        config: ReaderConfig | None = None,
    ) -> None:
        self._folder, self._derived, self._config = folder.absolute(), derived, config or ReaderConfig()

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with every view defined, good for the grace after which replaced files are deleted.

        It shows the store as it was at this moment; take another for a later question. Use the connection itself:
        its cursors do not see unsealed rows. Give SQL of users to `query`, which lets only queries pass.

        Raises:
            StoreError: there is no store, or it is newer or damaged.
        """
        snapshot = take_snapshot(self._folder, attempts=self._config.snapshot_attempts)
        require_files(snapshot.root, snapshot.manifest)
        connection = open_connection(self._config)
        try:
            _define_views(connection, snapshot, self._derived)
            lock_down(connection, [str(snapshot.root / file.path) for file in snapshot.manifest.files])
        except BaseException:
            connection.close()
            raise
        return connection

    def query(self, sql: str) -> pa.Table:
        """The result of one query by a user.

        Raises:
            StoreError: it is no query, there is no store, or a file of it is damaged; the message names it.
            duckdb.Error: DuckDB could not answer it.
        """
        with self.connect() as connection:
            check_statement(connection, sql)
            try:
                return connection.sql(sql).to_arrow_table()
            except _FAULTS_OF_THE_QUERY:
                raise
            except duckdb.Error as error:
                self._name_damage(error)
                raise

    def _name_damage(self, error: duckdb.Error) -> None:
        for damage in damaged_files(self._folder, read_manifest(self._folder)):
            raise StoreError(str(damage)) from error


def _define_views(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, declared: Mapping[str, Dataset]) -> None:
    connection.execute(f"CREATE SCHEMA {PRIVATE}")
    raw = RawRows(connection, snapshot)
    for dataset in DATASETS.values():
        _create(connection, SqlTable.of(dataset), raw.query(SqlTable.of(dataset)))
    derived = DerivedRows(connection, snapshot, declared)
    for table in derived.tables:
        _create(connection, table, derived.query(table))


def _create(connection: duckdb.DuckDBPyConnection, table: SqlTable, query: str) -> None:
    connection.execute(f"CREATE VIEW {quote(table.name)} AS SELECT {table.shown} FROM ({query})")
