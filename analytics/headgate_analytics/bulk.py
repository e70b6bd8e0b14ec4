"""Many sessions at once: gathered to disk, part by part rebuilt, on any runner, in memory that does not grow with them.

Gathering reads every file once. Its tasks and those of the rebuilding are independent of each other and may be
done again: files are written under their final name when they are whole, and nothing is live before the end.
"""

import gc
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from headgate_analytics.contents import content_by_session, keyless_content, shown_content
from headgate_analytics.gather import Piece, Wanted, pieces, save, wanted_rows, without_trace
from headgate_analytics.rebuild import rebuilt
from headgate_analytics.reconstruct import Reconstruction, Rules
from headgate_analytics.runner import Runner
from headgate_analytics.spill import Spill
from headgate_analytics.stitch import Stitched
from headgate_analytics.tables import tables_of
from headgate_processors.schema import CONTENT, LOG_EVENTS, SPANS
from headgate_processors.store.derivedstage import DerivedStage
from headgate_processors.store.disk import link_or_copy
from headgate_processors.store.layout import SPILL
from headgate_processors.store.manifest import LiveFile

TASK_ROWS_MAX = 160_000
PART_ROWS = 120_000
FLUSH_SESSIONS = 1_024
CONTENT_BYTES_MAX = 48 << 20
CONTENT_FILE_BYTES = 96 << 20
MEMORY_LIMIT = "768MB"
_GATHER_SHARE = 0.3

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How many sessions' worth of work is done, and the derived files that came with it, not live yet."""

    sessions: float
    files: Sequence[LiveFile] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What every task needs; made once by each process."""

    rules: Rules
    spill: Spill
    wanted: Wanted
    stage: DerivedStage
    revision: int
    sequence: int

    @contextmanager
    def connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own, that spills beside the rows."""
        settings: dict[str, str | bool | int | float | list[str]] = {
            "threads": 1,
            "memory_limit": MEMORY_LIMIT,
            "preserve_insertion_order": False,
            "temp_directory": str(self.spill.folder / f"duckdb-{os.getpid()}"),
        }
        with duckdb.connect(config=settings) as connection:
            yield connection


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkshopPlan:
    """How to make a workshop, in any process."""

    folder: Path
    spill: Spill
    make_rules: Callable[[], Rules]
    revision: int
    sequence: int
    apart: bool

    def __call__(self) -> Workshop:
        """Make it; a process of its own (`apart`) uses one core and collects its garbage between tasks."""
        if self.apart:
            pa.set_cpu_count(1)
            pa.set_io_thread_count(2)
        shop = Workshop(
            rules=self.make_rules(),
            spill=self.spill,
            wanted=Wanted.load(self.spill.folder / "wanted.ipc"),
            stage=DerivedStage(self.folder, self.spill.folder),
            revision=self.revision,
            sequence=self.sequence,
        )
        if self.apart:
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)
        return shop


@dataclass(frozen=True, slots=True, kw_only=True)
class GatherRows:
    """Gather spans or log events out of some pieces of files."""

    number: int
    pieces: tuple[Piece, ...]

    def __call__(self, shop: Workshop) -> int:
        """Spill them; how many there were."""
        found = [table for piece in self.pieces if (table := wanted_rows(piece, shop.wanted)) is not None]
        if not found:
            return 0
        rows = pa.concat_tables(found, promote_options="default")
        shop.spill.write(f"rows-{self.number:06d}", rows)
        keyless = without_trace(rows)
        if keyless.num_rows:
            save(keyless, shop.spill.folder / f"keyless-{self.number:06d}.ipc")
        found_rows: int = rows.num_rows
        return found_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class GatherContent:
    """Gather content of records in traces, out of some files; `keyless` gathers that of records without one."""

    number: int
    paths: tuple[Path, ...]
    keyless: bool = False

    def __call__(self, shop: Workshop) -> int:
        """Spill it; how many rows there were."""
        with shop.connected() as connection:
            if self.keyless:
                paths = sorted(shop.spill.folder.glob("keyless-*.ipc"))
                known = ds.dataset([str(path) for path in paths], format="ipc")
                found = keyless_content(connection, self.paths, known)
            else:
                found = shown_content(connection, self.paths, shop.wanted)
            total = 0
            for turn, table in enumerate(_gathered(found)):
                shop.spill.write(f"content-{self.number:06d}-{turn:06d}", table)
                total += table.num_rows
            return total


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildPart:
    """Rebuild the sessions of one part."""

    part: int

    def __call__(self, shop: Workshop) -> tuple[int, list[LiveFile]]:
        """Write their rows; how many sessions the part has, and the files, which are not live yet."""
        sessions = shop.spill.sessions(self.part)
        rows = shop.spill.read("rows", self.part)
        if rows is None:
            return len(sessions), []
        content = content_by_session(shop.spill.read("content", self.part))
        first = shop.spill.edges[self.part]
        found = rebuilt(rows, content, lambda number: sessions[number - first], shop.rules, revision=shop.revision)
        tables: dict[str, list[pa.Table]] = {}
        for several in _batched(found):
            for name, table in tables_of(several).items():
                tables.setdefault(name, []).append(table)
        whole = {name: pa.concat_tables(listed) for name, listed in tables.items()}
        return len(sessions), shop.stage.write(whole, sequence=shop.sequence)


def rebuild_many(spill: Spill, files: Sequence[LiveFile], runner: Runner, plan: WorkshopPlan) -> Iterator[Progress]:
    """Rebuild the sessions of a spill from raw files.

    Raises:
        StoreError: a raw file is damaged.
        WorkerDiedError: the runner's processes die again and again.
    """
    sessions = spill.edges[-1]
    rows, content = _gather_tasks(spill, files)
    gathering: list[Callable[[Workshop], int]] = [*rows, *content]
    for done, _ in enumerate(runner.run(plan, gathering), 1):
        yield Progress(sessions=sessions * _GATHER_SHARE * done / len(gathering))
    paths = tuple(spill.raw(file.path) for file in files if file.dataset == CONTENT.name)
    if paths and any(spill.folder.glob("keyless-*.ipc")):
        list(runner.run(plan, [GatherContent(number=len(content), paths=paths, keyless=True)]))
    finished = 0
    for count, written in runner.run(plan, [RebuildPart(part=part) for part in range(spill.parts)]):
        finished += count
        share = _GATHER_SHARE + (1 - _GATHER_SHARE) * finished / sessions
        yield Progress(sessions=sessions * share if finished < sessions else sessions, files=written)


def clear_spills(folder: Path) -> None:
    """Remove what a derivation that was killed left behind."""
    shutil.rmtree(folder / SPILL, ignore_errors=True)


@contextmanager
def spilled(folder: Path, files: Sequence[LiveFile], sessions: Sequence[Stitched]) -> Iterator[Spill]:
    """A spill with the sessions, and with raw files by links: compaction may delete them meanwhile.

    Raises:
        FileNotFoundError: a file is gone already.
    """
    place = folder / SPILL / uuid.uuid4().hex
    rows = sum(file.rows for file in files if file.dataset in {SPANS.name, LOG_EVENTS.name})
    parts = max(1, min(len(sessions), -(-rows // PART_ROWS)))
    spill = Spill(folder=place, edges=tuple(len(sessions) * part // parts for part in range(parts + 1)))
    (place / "raw").mkdir(parents=True)
    try:
        for file in files:
            link_or_copy(folder / file.path, spill.raw(file.path))
        spill.save_sessions(sessions)
        Wanted.of(sessions).save(place / "wanted.ipc")
        yield spill
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _gather_tasks(spill: Spill, files: Sequence[LiveFile]) -> tuple[list[GatherRows], list[GatherContent]]:
    found = (
        piece
        for file in files
        if file.dataset in {SPANS.name, LOG_EVENTS.name}
        for piece in pieces(file.dataset, spill.raw(file.path), rows=file.rows, rows_max=TASK_ROWS_MAX)
    )
    paths = ((spill.raw(file.path), file.bytes) for file in files if file.dataset == CONTENT.name)
    groups = _grouped(((piece, piece.rows) for piece in found), TASK_ROWS_MAX)
    return (
        [GatherRows(number=number, pieces=tuple(group)) for number, group in enumerate(groups)],
        [
            GatherContent(number=number, paths=tuple(group))
            for number, group in enumerate(_grouped(paths, CONTENT_FILE_BYTES))
        ],
    )


def _grouped(items: Iterable[tuple[_T, int]], size_max: int) -> Iterator[list[_T]]:
    """The items in groups of together at most `size_max`, or of one that is larger."""
    group: list[_T] = []
    size = 0
    for item, own in items:
        if group and size + own > size_max:
            yield group
            group, size = [], 0
        group.append(item)
        size += own
    if group:
        yield group


def _gathered(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of about `CONTENT_BYTES_MAX`."""
    held: list[pa.Table] = []
    size = 0
    for table in tables:
        held.append(table)
        size += table.nbytes
        if size >= CONTENT_BYTES_MAX:
            yield pa.concat_tables(held)
            held, size = [], 0
    if held:
        yield pa.concat_tables(held)


def _batched(found: Iterator[Reconstruction]) -> Iterator[Iterator[Reconstruction]]:
    """Runs of at most `FLUSH_SESSIONS`, each to be used up before the next one."""
    for first in found:
        yield chain([first], islice(found, FLUSH_SESSIONS - 1))
