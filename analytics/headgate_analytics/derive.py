"""The job that keeps derived tables current: the same code for the first build and for what came since.

It reads sealed files only, stitches what they touch, rebuilds those sessions whole and replaces their rows
in one step. It can be killed at any time: what was not recorded as done is done again, with the same result.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa

from headgate_analytics.costs import pricing
from headgate_analytics.raw import RawFiles, SessionRecords, facts, session_records
from headgate_analytics.reconstruct import Reconstruction, Rules, reconstruct
from headgate_analytics.schema import DERIVED
from headgate_analytics.stitch import Stitched, Stitcher
from headgate_analytics.titles import titles
from headgate_processors.dialects.columns import batch_of
from headgate_processors.enrich.actions import ActionRules
from headgate_processors.enrich.identity import Registry
from headgate_processors.enrich.price import PriceBook
from headgate_processors.store import DerivedWriter
from headgate_processors.store.manifest import LiveFile, Manifest, read_manifest

RAW = ("spans", "log_events", "span_links", "content")
PROGRESS = "derived-progress.json"
MEMORY_LIMIT = "4GB"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveConfig:
    """Limits of the job: sessions with together at most `anchors_max` traces are held in memory at once."""

    idle_gap_ns: int = 30 * 60 * 1_000_000_000
    anchors_max: int = 5_000
    threads: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What one run did."""

    files: int
    sessions: int
    removed: int
    revision: int


@dataclass(frozen=True, slots=True)
class _Progress:
    """Up to which version of the manifest all raw rows are in the derived tables."""

    version: int = 0
    revision: int = 0

    @classmethod
    def load(cls, path: Path) -> "_Progress":
        try:
            found = json.loads(path.read_bytes())
            return cls(version=int(found["version"]), revision=int(found["revision"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return cls()

    def save(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(orjson.dumps({"version": self.version, "revision": self.revision}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


class Deriver:
    """Derives the tables of one store. One process derives a store at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        registry: Registry,
        prices: PriceBook,
        actions: ActionRules | None = None,
        config: DeriveConfig | None = None,
    ) -> None:
        self._folder, self._config = folder, config or DeriveConfig()
        self._rules = Rules(
            identify=lambda resource, agent: registry.resolve(orjson.loads(resource), agent_name=agent),
            price=pricing(prices),
            title=titles(actions or ActionRules.load()),
        )
        self._stitcher = Stitcher(idle_gap_ns=self._config.idle_gap_ns)
        self._remembers = False
        self._progress = _Progress.load(folder / PROGRESS)

    def run(self, *, full: bool = False, report: Callable[[int, int], None] | None = None) -> Derived:
        """Bring the derived tables up to what is sealed; `full` rebuilds every session.

        `report(done, total)` is called as sessions are written.

        Raises:
            StoreError: the store is damaged.
        """
        manifest = read_manifest(self._folder)
        live = _raw(manifest)
        since = 0 if full else self._progress.version
        fresh = [file for file in live if file.live_version > since]
        sessions: list[Stitched] = []
        removed: set[str] = set()
        revision = self._progress.revision + bool(fresh)
        with self._connect() as connection:
            self._remember(connection, [file for file in live if file.live_version <= since])
            if fresh:
                touched = self._stitcher.absorb(facts(connection, self._files(fresh)))
                sessions, removed = self._stitcher.sessions_of(touched)
            if full:
                removed |= self._written(connection, manifest) - {stitched.key.session_id for stitched in sessions}
            for done in self._write(connection, sessions, revision=revision):
                if report is not None:
                    report(done, len(sessions))
        if removed:
            DerivedWriter(self._folder).write({}, removed_session_ids=removed)
        if manifest.version != self._progress.version:
            self._progress = _Progress(manifest.version, revision)
            self._progress.save(self._folder / PROGRESS)
        return Derived(files=len(fresh), sessions=len(sessions), removed=len(removed), revision=revision)

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(
            config={"threads": self._config.threads, "memory_limit": MEMORY_LIMIT, "preserve_insertion_order": False}
        )
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def _files(self, files: Sequence[LiveFile]) -> RawFiles:
        by_dataset: dict[str, list[Path]] = {}
        for file in files:
            by_dataset.setdefault(file.dataset, []).append(self._folder / file.path)
        return RawFiles(by_dataset)

    def _remember(self, connection: duckdb.DuckDBPyConnection, older: Sequence[LiveFile]) -> None:
        """Learn, once, what earlier processes derived: sessions must keep the ids they were given."""
        if not self._remembers:
            self._remembers = True
            known = self._stitcher.absorb(facts(connection, self._files(older)))
            self._stitcher.sessions_of(known)

    def _written(self, connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> set[str]:
        """Every session that any derived file holds."""
        paths = [str(self._folder / file.path) for file in manifest.of("sessions", derived=True)]
        if not paths:
            return set()
        rows = connection.execute("SELECT DISTINCT session_id FROM read_parquet(?)", [paths]).fetchall()
        return {session_id for (session_id,) in rows}

    def _rebuilt(self, found: SessionRecords, revision: int) -> Reconstruction | None:
        """One session; what our own code cannot rebuild is logged and must not keep the others from being current."""
        try:
            return reconstruct(found.stitched, found.nodes, found.content, self._rules, revision=revision)
        except Exception:  # noqa: BLE001 — the edge of the job: one session fails alone
            _LOG.exception("session %s could not be rebuilt", found.stitched.key.session_id)
            return None

    def _write(
        self, connection: duckdb.DuckDBPyConnection, sessions: Sequence[Stitched], *, revision: int
    ) -> Iterator[int]:
        """Rebuild and write the sessions chunk by chunk; yields how many are done.

        Each chunk looks at the manifest anew: in a long run compaction replaces files and deletes them after a grace.
        """
        writer = DerivedWriter(self._folder)
        done = 0
        for chunk in _chunks(sessions, self._config.anchors_max):
            files = self._files(_raw(read_manifest(self._folder)))
            records = session_records(connection, files, chunk)
            rebuilt = [one for found in records if (one := self._rebuilt(found, revision)) is not None]
            if rebuilt:
                writer.write(_tables(rebuilt))
            done += len(chunk)
            yield done


def _raw(manifest: Manifest) -> list[LiveFile]:
    return [file for file in manifest.files if not file.derived and file.dataset in RAW]


def _chunks(sessions: Sequence[Stitched], anchors_max: int) -> Iterator[list[Stitched]]:
    chunk: list[Stitched] = []
    size = 0
    for stitched in sessions:
        if chunk and size + len(stitched.anchors) > anchors_max:
            yield chunk
            chunk, size = [], 0
        chunk.append(stitched)
        size += len(stitched.anchors)
    if chunk:
        yield chunk


def _tables(rebuilt: Sequence[Reconstruction]) -> Mapping[str, pa.Table]:
    rows = {
        "sessions": [one.session for one in rebuilt],
        "model_calls": [row for one in rebuilt for row in one.model_calls],
        "tool_calls": [row for one in rebuilt for row in one.tool_calls],
        "timeline": [row for one in rebuilt for row in one.timeline],
        "usage_records": [row for one in rebuilt for row in one.usage_records],
    }
    return {name: pa.Table.from_batches([batch_of(DERIVED[name], {}, listed)]) for name, listed in rows.items()}
