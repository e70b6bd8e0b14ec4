"""The job that keeps derived tables current: the same code for the first build and for what came since.

It reads sealed files only, stitches what they touch, rebuilds those sessions whole and replaces their rows
in one step. It can be killed at any time: what was not recorded as done is done again, with the same result.
"""

import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import duckdb
import orjson

from headgate_analytics.bulk import WorkshopPlan, clear_spills, rebuild_many, spilled
from headgate_analytics.costs import pricing
from headgate_analytics.few import rebuild_few
from headgate_analytics.past import Known, open_past
from headgate_analytics.raw import FACT_DATASETS, RawFiles, facts
from headgate_analytics.raw_calls import call_facts, tells_of_gateways
from headgate_analytics.reconstruct import Rules
from headgate_analytics.runner import ProcessPool, Runner
from headgate_analytics.stitch import Stitched
from headgate_analytics.stitcher import Change, Stitcher
from headgate_analytics.tables import tables_of
from headgate_analytics.titles import titles
from headgate_analytics.unlearned import Unlearned
from headgate_processors.enrich.actions import ActionRules
from headgate_processors.enrich.identity import Registry
from headgate_processors.enrich.price import PriceBook
from headgate_processors.store import DerivedWriter
from headgate_processors.store.derivedstage import DerivedStage
from headgate_processors.store.manifest import LiveFile, Manifest, read_manifest

RAW = ("spans", "log_events", "span_links", "content")
PROGRESS = "derived-progress.json"
MEMORY_LIMIT = "1GB"
RESOURCES_MAX = 1024
FACT_ROWS_MAX = 2_000_000
_ATTEMPTS = 5

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveConfig:
    """Limits of the job.

    Sessions with together at most `anchors_max` traces are held in memory at once. From `bulk_anchors_min` traces on
    they are gathered to disk first and rebuilt by the runner. A run takes in `rows_max` new spans and log events, or
    what became live in one step if that is more; None takes in all: a full run always does.
    """

    idle_gap_ns: int = 30 * 60 * 1_000_000_000
    anchors_max: int = 5_000
    bulk_anchors_min: int = 20_000
    rows_max: int | None = None
    threads: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What one run did; `files_left` were left to the next, for they were too much for one."""

    files: int
    sessions: int
    removed: int
    revision: int
    files_left: int = 0


@dataclass(frozen=True, slots=True)
class _Progress:
    """Up to which version of the manifest all raw rows are in the derived tables."""

    version: int = 0
    revision: int = 0
    epoch: int = 0

    @classmethod
    def load(cls, path: Path) -> "_Progress":
        try:
            found = json.loads(path.read_bytes())
            return cls(int(found["version"]), int(found["revision"]), int(found.get("epoch", 0)))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return cls()

    def save(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(orjson.dumps({"version": self.version, "revision": self.revision, "epoch": self.epoch}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def rules_of(registry: Registry, prices: PriceBook, actions: ActionRules | None) -> Rules:
    """The rules of a site, as the reconstruction asks for them."""
    # The same object for the same text: the registry knows it again without looking at it.
    parsed = lru_cache(maxsize=RESOURCES_MAX)(orjson.loads)
    return Rules(
        identify=lambda resource, agent, sure: registry.resolve(parsed(resource), agent_name=agent, subject=sure),
        price=pricing(prices),
        title=titles(actions or ActionRules.load()),
    )


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
        runner: Runner | None = None,
    ) -> None:
        self._folder, self._config = folder, config or DeriveConfig()
        self._make_rules = partial(rules_of, registry, prices, actions)
        self._rules = self._make_rules()
        self._runner = runner or ProcessPool(workers=os.cpu_count() or 1)
        self._progress = _Progress.load(folder / PROGRESS)

    def run(self, *, full: bool = False, report: Report | None = None) -> Derived:
        """Bring the derived tables up to what is sealed; `full` rebuilds every session.

        `report(done, total)` is called as sessions are written.

        Raises:
            StoreError: the store is damaged.
            WorkerDiedError: processes of the runner die again and again.
        """
        clear_spills(self._folder)
        # Tombstones first: what they call gone is gone from the files of any manifest that is read after them.
        unlearned = Unlearned.of(self._folder)
        manifest = read_manifest(self._folder)
        live = _raw(manifest)
        # Derived rows were lost with a damaged file: all are made again, and those that cannot be made again stay.
        since = 0 if full or manifest.derived_epoch > self._progress.epoch else self._progress.version
        came = [file for file in live if file.live_version > since]
        until = _until(came, None if full else self._config.rows_max, otherwise=manifest.version)
        fresh = [file for file in came if file.live_version <= until]
        revision = self._progress.revision + bool(fresh)
        known = Known(
            version=until,
            idle_gap_ns=self._config.idle_gap_ns,
            forgotten=unlearned.mark,
            oldest_received=_oldest_received(live),
        )
        with (
            self._connect() as connection,
            open_past(self._folder, usable=lambda found: not full and found.leads_to(known)) as past,
        ):
            stitcher = Stitcher(past.database, idle_gap_ns=known.idle_gap_ns)
            before = past.known or replace(known, version=0)
            earlier = [file for file in live if before.version < file.live_version <= since]
            told = before.has_gateways or tells_of_gateways(connection, self._files([*earlier, *fresh]))
            known = replace(known, has_gateways=told)
            learn = partial(self._learn, connection, stitcher, unlearned, single_calls=told)
            if told and not before.has_gateways:
                before = replace(before, has_gateways=True)
                past.begin()
                for some in _grouped([file for file in live if file.live_version <= before.version], FACT_ROWS_MAX):
                    stitcher.absorb(filter(unlearned.allows, call_facts(connection, self._files(some))))
                past.commit(before)
            if earlier:
                past.begin()
                for _ in learn(earlier):
                    pass
                past.commit(replace(before, version=since))
            past.begin()
            if before.oldest_received < known.oldest_received:
                stitcher.prune(known.oldest_received)
            changes = list(learn(fresh))
            sessions = [one for change in changes for one in change.sessions]
            removed = {gone for change in changes for gone in change.removed}
            if full:
                removed |= self._written(connection, manifest) - {stitched.key.session_id for stitched in sessions}
            self._write(connection, sessions, removed, full=full, revision=revision, report=report)
            past.commit(known)
        if (until, manifest.derived_epoch) != (self._progress.version, self._progress.epoch):
            self._progress = _Progress(until, revision, manifest.derived_epoch)
            self._progress.save(self._folder / PROGRESS)
        return Derived(
            files=len(fresh),
            sessions=len(sessions),
            removed=len(removed),
            revision=revision,
            files_left=len(came) - len(fresh),
        )

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

    def _learn(
        self,
        connection: duckdb.DuckDBPyConnection,
        stitcher: Stitcher,
        unlearned: Unlearned,
        files: Sequence[LiveFile],
        *,
        single_calls: bool,
    ) -> Iterator[Change]:
        """Take in what raw files say, of single calls as well when a gateway may have seen them; what that changes."""
        with _collecting_rarely():
            for some in _grouped(files, FACT_ROWS_MAX):
                stitcher.absorb(filter(unlearned.allows, facts(connection, self._files(some))))
                if single_calls:
                    stitcher.absorb(filter(unlearned.allows, call_facts(connection, self._files(some))))
            yield from stitcher.changes()

    def _written(self, connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> set[str]:
        """Every session that any derived file holds."""
        paths = [str(self._folder / file.path) for file in manifest.of("sessions", derived=True)]
        if not paths:
            return set()
        rows = connection.execute("SELECT DISTINCT session_id FROM read_parquet(?)", [paths]).fetchall()
        return {session_id for (session_id,) in rows}

    def _write(
        self,
        connection: duckdb.DuckDBPyConnection,
        sessions: Sequence[Stitched],
        removed: set[str],
        *,
        full: bool,
        revision: int,
        report: Report | None,
    ) -> None:
        """Rebuild the sessions, make their rows live, hide those that were removed."""
        many = sum(len(one.anchors) for one in sessions) >= self._config.bulk_anchors_min
        steps = (
            self._write_many(sessions, removed, full=full, revision=revision)
            if sessions and many
            else self._write_few(connection, sessions, removed, revision=revision)
        )
        for done in steps:
            if report is not None:
                report(done, len(sessions))

    def _write_few(
        self,
        connection: duckdb.DuckDBPyConnection,
        sessions: Sequence[Stitched],
        removed: set[str],
        *,
        revision: int,
    ) -> Iterator[int]:
        """Rebuild and write the sessions chunk by chunk; yields how many are done.

        Each chunk looks at the manifest anew: in a long run compaction replaces files and deletes them after a grace.
        """
        writer = DerivedWriter(self._folder)
        done = 0
        for chunk in _chunks(sessions, self._config.anchors_max):
            files = _received_in(_raw(read_manifest(self._folder)), _received(chunk))
            with _collecting_rarely():
                found = rebuild_few(connection, self._folder, files, chunk, self._rules, revision=revision)
                tables = tables_of(found)
            writer.write(tables)
            done += len(chunk)
            yield done
        if removed:
            writer.write({}, removed_session_ids=removed)

    def _write_many(
        self, sessions: Sequence[Stitched], removed: set[str], *, full: bool, revision: int
    ) -> Iterator[int]:
        """Rebuild the sessions by the runner; yields how many are done.

        A full run, and the first one, replaces all derived files at its end: until then the views show the ones before.
        """
        instead = full or not any(file.derived for file in read_manifest(self._folder).files)
        window = _received(sessions)
        for attempt in range(_ATTEMPTS):
            files = _received_in(_raw(read_manifest(self._folder)), window)
            try:
                with spilled(self._folder, files, sessions) as spill:
                    stage = DerivedStage(self._folder, spill.folder)
                    sequence = stage.next_sequence()
                    plan = WorkshopPlan(
                        folder=self._folder,
                        spill=spill,
                        make_rules=self._make_rules,
                        revision=revision,
                        sequence=sequence,
                        apart=isinstance(self._runner, ProcessPool),
                    )
                    written: list[LiveFile] = []
                    for progress in rebuild_many(spill, files, self._runner, plan):
                        written += progress.files
                        yield int(progress.sessions)
                    stage.publish(written, sequence=sequence, instead=instead, removed_session_ids=removed)
                return
            except FileNotFoundError:
                if attempt + 1 == _ATTEMPTS:
                    raise


def _raw(manifest: Manifest) -> list[LiveFile]:
    return [file for file in manifest.files if not file.derived and file.dataset in RAW]


def _until(files: Sequence[LiveFile], rows_max: int | None, *, otherwise: int) -> int:
    """Up to which version of the manifest these files have `rows_max` spans and log events, or one version more."""
    if rows_max is None:
        return otherwise
    rows, until = 0, None
    for file in sorted(files, key=lambda one: one.live_version):
        if until is not None and rows >= rows_max and file.live_version > until:
            return until
        rows += file.rows if file.dataset in FACT_DATASETS else 0
        until = file.live_version
    return otherwise


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Look for garbage less often: most of what stitching and rebuilding make lives until their end."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _oldest_received(files: Iterable[LiveFile]) -> int:
    """When the oldest row that facts are made of was received; 0 when that is not known."""
    times = [file.min_received_unix_nano for file in files if file.dataset in FACT_DATASETS and file.rows]
    return min((time or 0 for time in times), default=0)


def _received(sessions: Sequence[Stitched]) -> tuple[int, int]:
    """When the first and the last record of these sessions was received, in nanoseconds."""
    return (
        min((one.received[0] for one in sessions), default=0),
        max((one.received[1] for one in sessions), default=0),
    )


def _received_in(files: Sequence[LiveFile], window: tuple[int, int]) -> list[LiveFile]:
    """The files that can hold a row received within a window."""
    first, last = window
    return [
        file
        for file in files
        if file.min_received_unix_nano is None
        or file.max_received_unix_nano is None
        or (file.min_received_unix_nano <= last and file.max_received_unix_nano >= first)
    ]


def _grouped(files: Sequence[LiveFile], rows_max: int) -> Iterator[list[LiveFile]]:
    """The files in groups of together at most so many rows, or of one that is larger."""
    group: list[LiveFile] = []
    rows = 0
    for file in sorted(files, key=lambda one: (one.day or "", one.bucket or 0)):
        if group and rows + file.rows > rows_max:
            yield group
            group, rows = [], 0
        group.append(file)
        rows += file.rows
    if group:
        yield group


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
