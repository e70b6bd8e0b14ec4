"""Queries: one DuckDB connection over sealed files and unsealed segments, taken as one snapshot."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import duckdb
import pyarrow as pa

from headgate_processors.schema import DATASETS, Dataset
from headgate_processors.store.check import sound_manifest
from headgate_processors.store.config import ReaderConfig
from headgate_processors.store.derivedrows import DerivedRows
from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.manifest import Manifest
from headgate_processors.store.quarantine import set_aside_damaged
from headgate_processors.store.rawrows import PRIVATE, RawRows
from headgate_processors.store.relation import SqlTable, quote
from headgate_processors.store.revisions import REMOVED, SESSIONS
from headgate_processors.store.sandbox import check_statement, lock_down, open_connection
from headgate_processors.store.snapshot import Snapshot, sealed_snapshot, take_snapshot

_FAULTS_OF_THE_QUERY = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.DataError,
    duckdb.PermissionException,
    duckdb.OutOfMemoryException,
)


class StoreReader:
    """Reads a store that any process may be writing; takes no lock and writes nothing, unless a file is damaged.

    `derived` declares the derived tables, so that those without a row are views too. `only` names the views that
    will be asked: no file of another is looked at. Without it, every view is there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        derived: Mapping[str, Dataset] = MappingProxyType({}),
        only: Collection[str] | None = None,
        config: ReaderConfig | None = None,
    ) -> None:
        self._folder, self._derived, self._config = folder.absolute(), derived, config or ReaderConfig()
        self._only = only

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with every view defined, good for the grace after which replaced files are deleted.

        It shows the store as it was at this moment; take another for a later question. Damaged files that a
        glance finds are left out, and named in the log. Use the connection itself:
        its cursors do not see unsealed rows. Give SQL of users to `query`, which lets only queries pass.

        Raises:
            StoreError: there is no store, or it is newer or damaged.
        """
        try:
            return self._connected()
        except duckdb.Error:
            if not self._set_aside():
                raise
        return self._connected()

    def _connected(self) -> duckdb.DuckDBPyConnection:
        snapshot = self._snapshot()
        snapshot = replace(snapshot, manifest=sound_manifest(self._folder, read=lambda _: snapshot.manifest))
        connection = open_connection(self._config)
        try:
            _define_views(connection, snapshot, self._derived, self._only)
            lock_down(connection, [f"{snapshot.root}/{file.path}" for file in snapshot.manifest.files])
        except BaseException:
            connection.close()
            raise
        return connection

    def _snapshot(self) -> Snapshot:
        attempts = self._config.snapshot_attempts
        if self._only is None:
            return take_snapshot(self._folder, attempts=attempts)
        are_raw = not DATASETS.keys().isdisjoint(self._only)
        snapshot = take_snapshot(self._folder, attempts=attempts) if are_raw else sealed_snapshot(self._folder)
        return replace(snapshot, manifest=_narrowed(snapshot.manifest, self._only, are_raw=are_raw))

    def query(self, sql: str) -> pa.Table:
        """The result of one query by a user.

        A live file that turns out to be damaged is set aside, named in the log, and the rest is asked again.

        Raises:
            StoreError: it is no query, or there is no store.
            duckdb.Error: DuckDB could not answer it.
        """
        try:
            return self._answer(sql)
        except _FAULTS_OF_THE_QUERY:
            raise
        except duckdb.Error:
            if not self._set_aside():
                raise
        return self._answer(sql)

    def _set_aside(self) -> bool:
        """Whether a damaged file was found, which the next look does without."""
        return self._config.sets_aside and bool(set_aside_damaged(self._folder, disk=LocalDisk()))

    def _answer(self, sql: str) -> pa.Table:
        with self.connect() as connection:
            check_statement(connection, sql)
            return connection.sql(sql).to_arrow_table()


def _narrowed(manifest: Manifest, names: Collection[str], *, are_raw: bool) -> Manifest:
    """The manifest with the files that some views need.

    Which raw rows lost is told by all raw datasets together, which derived ones count by their sessions.
    """
    derived = {*names, SESSIONS, REMOVED}
    files = tuple(file for file in manifest.files if (file.dataset in derived if file.derived else are_raw))
    return replace(manifest, files=files)


def _define_views(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    declared: Mapping[str, Dataset],
    only: Collection[str] | None,
) -> None:
    connection.execute(f"CREATE SCHEMA {PRIVATE}")
    raw = [SqlTable.of(dataset) for name, dataset in DATASETS.items() if only is None or name in only]
    if raw:
        rows = RawRows(connection, snapshot)
        for table in raw:
            _create(connection, table, rows.query(table))
    derived = DerivedRows(connection, snapshot, declared)
    for table in derived.tables:
        if only is None or table.name in only:
            _create(connection, table, derived.query(table))


def _create(connection: duckdb.DuckDBPyConnection, table: SqlTable, query: str) -> None:
    connection.execute(f"CREATE VIEW {quote(table.name)} AS SELECT {table.shown} FROM ({query})")
