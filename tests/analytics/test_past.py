"""What the deriver knows of the past is on disk: it survives restarts and crashes, and forgets what was forgotten."""

import shutil
import sqlite3
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_analytics import DeriveConfig, Deriver
from headgate_analytics.past import Known, open_past
from headgate_analytics.stitch import Fact, Stitched
from headgate_analytics.stitcher import Stitcher
from headgate_analytics.testing.nodes import log_fact, trace_fact
from headgate_processors.enrich.price import PriceBook
from headgate_processors.errors import StoreError
from headgate_processors.store import CompactConfig, compact
from headgate_processors.store.backup import backup
from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.forgotten import Tombstone, forget, session_ids_of
from headgate_processors.store.layout import PAST
from headgate_processors.store.manifest import read_manifest, update_manifest
from headgate_processors.store.survey import survey

pytestmark = pytest.mark.slow

GAP_NS = 30 * 60 * 10**9
KNOWN = Known(version=1, idle_gap_ns=GAP_NS, forgotten="")
SECOND = 10**9
NOW = time.time_ns() // SECOND * SECOND - 3_600 * SECOND

Turn = Callable[..., Any]
Sessions = dict[str, Stitched]

FACTS = (
    trace_fact("a", root_others=1),
    trace_fact("b", key="k1", begin=5),
    trace_fact("c", instance="p1", root_calls=1, begin=7),
    trace_fact("d", instance="p1", root_calls=1, begin=9),
    trace_fact("a", key="k2", begin=3),
    log_fact("k1", at_ms=4),
    trace_fact("b", key="k2", begin=6),
    trace_fact("c", instance="p0", root_calls=1, begin=7),
    trace_fact("e", root_others=1, linked_trace="f", begin=1),
    trace_fact("f", root_others=1, begin=2),
)


def _learn(folder: Path, facts: list[Fact], tables: Sessions, *, steps: int | None = None) -> None:
    """A process that takes in facts and ends; with `steps` it is interrupted after so many of the database."""
    left = [steps or 0]

    def tick() -> int:
        left[0] -= 1
        return int(left[0] < 0)

    with open_past(folder, usable=lambda _: True) as past:
        if steps is not None:
            past.database.set_progress_handler(tick, 50)
        stitcher = Stitcher(past.database, idle_gap_ns=GAP_NS)
        past.begin()
        stitcher.absorb(facts)
        for change in stitcher.changes():
            tables |= {one.key.session_id: one for one in change.sessions}
            for session_id in change.removed:
                tables.pop(session_id, None)
        past.commit(KNOWN)


@settings(max_examples=60)
@given(order=st.permutations(FACTS), cuts=st.sets(st.integers(1, len(FACTS) - 1)))
def test_restarts_at_any_moment_give_the_same_sessions(order: list[Fact], cuts: set[int]) -> None:
    """Each part of the facts in a process of its own, or all in one."""
    whole: Sessions = {}
    parts: Sessions = {}
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        _learn(Path(one), list(FACTS), whole)
        edges = [0, *sorted(cuts), len(order)]
        for start, end in pairwise(edges):
            _learn(Path(other), order[start:end], parts)
    assert whole == parts


def test_a_crash_at_any_step_leaves_what_was_known_before(tmp_path: Path) -> None:
    """The same facts, taken in again after every crash, give what they give without one."""
    expected: Sessions = {}
    _learn(tmp_path / "calm", list(FACTS[:4]), expected)
    _learn(tmp_path / "calm", list(FACTS[4:]), expected)
    found: Sessions = {}
    _learn(tmp_path / "store", list(FACTS[:4]), found)
    crashes = 0
    for steps in range(10_000):
        try:
            _learn(tmp_path / "store", list(FACTS[4:]), found, steps=steps)
            break
        except StoreError:
            crashes += 1
    assert expected == found
    assert crashes > 10


def _deriver(workbench: Any, **config: Any) -> Deriver:
    """A deriver of another process."""
    return Deriver(
        workbench.folder,
        registry=workbench.normaliser.registry,
        prices=PriceBook.load(),
        config=DeriveConfig(**config),
    )


def _file(workbench: Any) -> Path:
    return Path(workbench.folder) / PAST


def _names(workbench: Any) -> list[str]:
    with sqlite3.connect(_file(workbench)) as database:
        return sorted(name for (name,) in database.execute("SELECT name FROM nodes"))


def _keys(workbench: Any) -> list[str]:
    return [row["source_key"] for row in workbench.query("SELECT source_key FROM sessions ORDER BY ALL")]


def test_a_start_reads_no_raw_row_that_was_derived(workbench: Any, turn: Turn) -> None:
    """Noise in an old raw file keeps nobody from starting; only the rows of sessions that go on are read again."""
    workbench.ingest([turn(1, key="thread-1", at_unix_nano=NOW)])
    workbench.derive()
    for file in read_manifest(workbench.folder).of("spans"):
        (workbench.folder / file.path).write_bytes(b"noise")

    assert 0 == _deriver(workbench).run().sessions


@pytest.mark.parametrize("harm", ["gone", "noise", "cut", "copied", "another rule"])
def test_a_file_that_cannot_be_trusted_is_made_again(workbench: Any, turn: Turn, harm: str) -> None:
    """From raw rows, once: sessions go on under the ids that they have."""
    workbench.ingest([turn(1, at_unix_nano=NOW, rooted=False), turn(2, key="thread-2", at_unix_nano=NOW)])
    workbench.derive()
    path = _file(workbench)
    if harm == "gone":
        shutil.rmtree(path.parent)
    elif harm == "noise":
        path.write_bytes(b"noise" * 5_000)
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:5_000])
    elif harm == "copied":
        shutil.copy(path, path.with_name("copy"))
        path.with_name("copy").replace(path)

    workbench.ingest([turn(1, key="thread-1", at_unix_nano=NOW), turn(3, key="thread-2", at_unix_nano=NOW + SECOND)])
    gap_ns = 1_000 if harm == "another rule" else GAP_NS
    done = [found for _ in range(3) if (found := _run(_deriver(workbench, idle_gap_ns=gap_ns))) is not None]

    assert (2, 1) == done[0]
    assert ["thread-1", "thread-2"] == _keys(workbench)


def _run(deriver: Deriver) -> tuple[int, int] | None:
    """Sessions and removed sessions; None when it has to be tried again."""
    try:
        done = deriver.run()
    except StoreError:
        return None
    return done.sessions, done.removed


def test_a_past_that_is_behind_or_ahead_catches_up(workbench: Any, turn: Turn) -> None:
    """A file, or a note of progress, that a disk brought back from before changes no table."""
    path, progress = _file(workbench), Path(workbench.folder) / "derived-progress.json"
    workbench.ingest([turn(1, at_unix_nano=NOW, rooted=False)])
    workbench.derive()
    old_past, old_progress = path.read_bytes(), progress.read_bytes()
    workbench.ingest([turn(1, key="thread-1", at_unix_nano=NOW + SECOND)])
    workbench.derive()
    expected, new_past = workbench.tables(), path.read_bytes()

    for past, note in ((old_past, progress.read_bytes()), (new_past, old_progress)):
        path.write_bytes(past)
        progress.write_bytes(note)
        _deriver(workbench).run()
        assert expected == workbench.tables()


def test_what_is_forgotten_leaves_the_past(workbench: Any, turn: Turn) -> None:
    """With the first run after the compaction that took it off the disk: no key and no trace of it is left."""
    workbench.ingest([turn(1, key="ada@home", at_unix_nano=NOW), turn(2, key="thread-2", at_unix_nano=NOW)])
    workbench.derive()
    assert b"ada@home" in _file(workbench).read_bytes()
    ids = session_ids_of("default", "fixer", "ada@home")
    stone = Tombstone(kind="session", since_unix_nano=0, session_ids=ids, trace_ids=(f"{2:032x}",))
    forget(workbench.folder, stone, disk=LocalDisk())
    compact(workbench.folder, config=CompactConfig(grace_s=0))

    workbench.derive()

    assert b"ada@home" not in _file(workbench).read_bytes()
    assert [f"trace\0default\0{3:032x}", '["default","fixer","thread-2"]'] == sorted(_names(workbench), reverse=True)
    assert ["thread-2"] == _keys(workbench)


def test_what_retention_took_leaves_the_past(workbench: Any, turn: Turn) -> None:
    """An anchor goes when no live row is old enough to be of it, and its key with the last of them."""
    workbench.ingest([turn(1, key="thread-1", at_unix_nano=NOW)])
    workbench.derive()
    gone = frozenset(file.path for file in read_manifest(workbench.folder).files if not file.derived)
    workbench.ingest([turn(2, key="thread-2", at_unix_nano=NOW)])
    update_manifest(workbench.folder, lambda one: one.swap(remove=gone, add=(), now_unix_nano=NOW), disk=LocalDisk())

    workbench.derive()

    assert ['["default","fixer","thread-2"]', f"trace\0default\0{3:032x}"] == _names(workbench)
    assert ["thread-1", "thread-2"] == _keys(workbench)


def test_a_check_names_a_past_that_is_damaged(workbench: Any, turn: Turn) -> None:
    """One that is whole, or is being written, is no problem."""
    workbench.ingest([turn(1, key="thread-1", at_unix_nano=NOW)])
    workbench.derive()
    assert [] == list(survey(workbench.folder, deep=True))

    _file(workbench).write_bytes(b"noise" * 5_000)

    assert [("past", PAST)] == [(one.kind, one.path) for one in survey(workbench.folder, deep=True)]


def test_a_backup_goes_on_with_the_same_sessions(workbench: Any, turn: Turn, tmp_path: Path) -> None:
    """What derivation remembers is not in it, and is made again from its raw rows."""
    workbench.ingest([turn(1, at_unix_nano=NOW, rooted=False)])
    workbench.derive()
    backup(workbench.folder, tmp_path / "copy")
    assert not (tmp_path / "copy" / PAST).exists()

    workbench.folder = tmp_path / "copy"
    workbench.restart()
    workbench.ingest([turn(1, key="thread-1", at_unix_nano=NOW)])

    assert (1, 1) == _run(workbench.deriver)
    assert ["thread-1"] == _keys(workbench)
