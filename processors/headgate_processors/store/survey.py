"""The survey of a store: everything that is not as it should be, each with what to do about it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import time

import duckdb

from headgate_processors.schema import DATASETS
from headgate_processors.store.check import examine, glance
from headgate_processors.store.config import ReaderConfig
from headgate_processors.store.disk import changed_s
from headgate_processors.store.folder import open_folder
from headgate_processors.store.forgotten import read_forgotten
from headgate_processors.store.layout import PAST
from headgate_processors.store.manifest import NAME, PREVIOUS, DamagedManifestError, Manifest, load_manifest
from headgate_processors.store.reader import StoreReader
from headgate_processors.store.rebuild import unlisted
from headgate_processors.store.repeats import RECORDS
from headgate_processors.store.segment import read_segment
from headgate_processors.store.sweep import orphans

ORPHAN_AGE_S = 3600.0
REPAIR = "headgate store repair"

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: its kind, the file, a sentence, and what to do."""

    kind: str
    path: str
    text: str
    next_step: str


def survey(root: Path, *, deep: bool = False, report: Report = lambda _done, _total: None) -> Iterator[Problem]:
    """Look at the manifest, the live files, segments, files that nobody lists, and repeats among what views show.

    `deep` reads every live file, and compares its checksum. `report(done, total)` is called as files are looked at.

    Raises:
        StoreError: there is no store, or it is newer.
    """
    open_folder(root)
    manifest = None
    try:
        manifest = load_manifest(root / NAME)
    except DamagedManifestError as error:
        yield Problem(kind="manifest", path=NAME, text=f"{error}.", next_step=REPAIR)
        try:
            manifest = load_manifest(root / PREVIOUS)
        except DamagedManifestError as lost:
            yield Problem(kind="manifest", path=PREVIOUS, text=f"{lost}.", next_step=REPAIR)
    yield from _segments(root)
    if deep:
        yield from _past(root)
    if manifest is not None:
        yield from _files(root, manifest, deep, report)
        yield from _others(root, manifest)
        yield from _repeats(root)


def _files(root: Path, manifest: Manifest, deep: bool, report: Report) -> Iterator[Problem]:
    for one in manifest.damaged:
        text = f"set aside: {one.reason}; {one.file.rows} rows of {one.file.dataset} are not shown."
        step = f"Put {one.file.path} back from a copy, then: {REPAIR}. What is left of it lies in damaged/."
        yield Problem(kind="set aside", path=one.file.path, text=text, next_step=step)
    seen = set()
    for damage in glance(root, manifest):
        seen.add(damage.file.path)
        yield Problem(kind="damaged", path=damage.file.path, text=f"{damage}.", next_step=REPAIR)
    for number, file in enumerate(manifest.files, start=1):
        if deep and file.path not in seen and (found := examine(root, file)) is not None:
            yield Problem(kind="damaged", path=file.path, text=f"{found}.", next_step=REPAIR)
        report(number, len(manifest.files))


def _segments(root: Path) -> Iterator[Problem]:
    for path in sorted((root / "segments").glob("*.seg")):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        for gap in read_segment(content).damage:
            step = "The next start of its writer sets it aside and keeps all other rows: headgate up."
            name = path.relative_to(root).as_posix()
            yield Problem(kind="segment", path=name, text=f"{gap}.", next_step=step)


def _past(root: Path) -> Iterator[Problem]:
    """What derivation remembers; while a run holds it, nothing can be said."""
    path = root / PAST
    if not path.exists():
        return
    text = ""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        try:
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            text = "" if found == "ok" else found
        except sqlite3.OperationalError:
            return
        except sqlite3.DatabaseError as error:
            text = str(error)
    if text:
        step = f"Nothing is lost: remove {path}, and the next derivation makes it again from the raw rows."
        yield Problem(kind="past", path=PAST, text=f"damaged: {text}.", next_step=step)


def _others(root: Path, manifest: Manifest) -> Iterator[Problem]:
    waiting = set()
    for path in unlisted(root, manifest):
        waiting.add(path)
        text = "sealed, and not in the manifest: its rows are not shown."
        yield Problem(kind="unlisted", path=path.relative_to(root).as_posix(), text=text, next_step=REPAIR)
    for path in orphans(root, manifest, age_s=ORPHAN_AGE_S):
        if path not in waiting:
            age_h = round((time() - changed_s(path)) / 3600, 1)
            text = f"not live, and untouched for {age_h} h: left by a process that was killed."
            step = f"Nothing is lost. {REPAIR} removes it, and so does the next compaction."
            yield Problem(kind="orphan", path=path.relative_to(root).as_posix(), text=text, next_step=step)
    version = min((one.applied_version for one in read_forgotten(root)), default=0)
    if version < 0:
        text = "something was forgotten and is hidden; its bytes are still in files."
        yield Problem(kind="forgotten", path="forgotten.json", text=text, next_step="headgate compact")


def _repeats(root: Path) -> Iterator[Problem]:
    """Records that views show twice; a store with damage inside of files is asked again once that is mended."""
    try:
        connection = StoreReader(root, config=ReaderConfig(sets_aside=False)).connect()
    except duckdb.Error:
        return
    with connection:
        for dataset in RECORDS:
            query = f"SELECT count(*) - count(DISTINCT record_id) FROM {DATASETS[dataset].name}"
            repeats = connection.execute(query).fetchall()[0][0]
            if repeats:
                text = f"{repeats} records of {dataset} are shown twice."
                yield Problem(kind="repeats", path=dataset, text=text, next_step=REPAIR)
