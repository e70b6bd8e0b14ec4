"""Check, repair, backup: what is wrong is told, what can be mended is mended, a copy holds everything."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from headgate_processors.errors import StoreError
from headgate_processors.store import CompactConfig, Store, StoreConfig, StoreReader, compact
from headgate_processors.store.backup import backup
from headgate_processors.store.layout import SPILL
from headgate_processors.store.manifest import read_manifest
from headgate_processors.store.repair import repair
from headgate_processors.store.survey import survey
from headgate_processors.testing.rows import batch, child, span
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

VIEWS = ("spans", "span_events", "content")


def rows(*numbers: int):
    """Rows to append: these spans, each with an event and content."""
    spans = [span(number, trace=number) for number in numbers]
    return {
        "spans": batch("spans", spans),
        "span_events": batch("span_events", map(child, spans)),
        "content": batch("content", map(child, spans)),
    }


def fill(store, *numbers: int) -> None:
    """Seal one span after the other."""
    for number in numbers:
        store.append(rows(number))
        store.seal()


def counts(folder: Path) -> list[int]:
    """How many rows each view shows."""
    with StoreReader(folder).connect() as connection:
        return [connection.sql(f"SELECT count(*) FROM {view}").fetchall()[0][0] for view in VIEWS]


def spoil(path: Path) -> None:
    """Overwrite the middle of a file, its time of change as it was."""
    found = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = b"\xff" * 40
    path.chmod(0o600)
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def make_old(path: Path) -> None:
    """Say that nobody touched a file for two hours."""
    before = time.time() - 7200
    os.utime(path, (before, before))


def test_a_sound_store_has_no_problem(tmp_path, open_store) -> None:
    """Sealed, unsealed and compacted rows: nothing to say."""
    store = open_store()
    fill(store, 1, 2, 3)
    compact(tmp_path)
    store.append(rows(4))
    seen = []

    assert [] == list(survey(tmp_path, deep=True, report=lambda done, total: seen.append((done, total))))
    assert [(1, 3), (2, 3), (3, 3)] == seen


def test_every_problem_is_told_and_repaired(tmp_path, open_store) -> None:
    """Damaged and missing files, files nobody lists, leftovers: found, mended, and then there is one thing left."""
    store = open_store()
    fill(store, 1, 2, 3)
    store.close()
    first, second, third = sorted(tmp_path.glob("spans/*/*/*.parquet"))
    spoil(first)
    second.unlink()
    orphan = third.with_name("compact-0.parquet")
    shutil.copyfile(third, orphan)
    make_old(orphan)
    unlisted = third.with_name("w-0000000009.parquet")
    shutil.copyfile(tmp_path / read_manifest(tmp_path).of("spans")[2].path, unlisted)

    shallow = {(one.kind, one.path) for one in survey(tmp_path)}
    deep = {(one.kind, one.path) for one in survey(tmp_path, deep=True)}
    name = {path: path.relative_to(tmp_path).as_posix() for path in (first, second, orphan, unlisted)}
    assert {("damaged", name[second]), ("orphan", name[orphan]), ("unlisted", name[unlisted])} == shallow
    assert shallow | {("damaged", name[first])} == deep

    done = repair(tmp_path)

    assert (1, 1, {name[first], name[second]}) == (done.listed_files, done.removed_orphans, set(done.set_aside))
    assert {("set aside", name[first]), ("set aside", name[second])} == {
        (one.kind, one.path) for one in survey(tmp_path, deep=True)
    }
    assert [1, 3, 3] == counts(tmp_path)


def test_a_damaged_segment_is_told(tmp_path, open_store) -> None:
    """Which bytes of which segment, and that the next start keeps all other rows."""
    store = open_store()
    store.append(rows(1))
    store.append(rows(2))
    (path,) = (tmp_path / "segments").iterdir()
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)

    (problem,) = survey(tmp_path)

    assert ("segment", f"segments/{path.name}") == (problem.kind, problem.path)
    assert "damaged" in problem.text


def test_a_store_whose_manifests_are_lost_is_rebuilt_from_its_files(tmp_path, open_store) -> None:
    """Even when compacted files and their sources stand side by side: every row once, children too."""
    store = open_store()
    fill(store, 1, 2, 3)
    compact(tmp_path, config=CompactConfig(grace_s=3600))
    sources = sorted(path for path in tmp_path.glob("spans/*/*/w-*.parquet"))
    fill(store, 4)
    store.close()
    for path in sources:
        path.unlink()
    for name in ("manifest.json", "manifest.previous.json"):
        (tmp_path / name).unlink()
    assert ["manifest", "manifest"] == [one.kind for one in survey(tmp_path)]

    done = repair(tmp_path)

    assert (True, 6, True) == (done.manifest_rebuilt, done.dropped_repeats, done.derive)
    assert [4, 4, 4] == counts(tmp_path)
    with open_store() as again:
        again.append(rows(4, 5))
        again.seal()
    assert [5, 5, 5] == counts(tmp_path)
    compact(tmp_path, config=CompactConfig(grace_s=0))
    assert [5, 5, 5] == counts(tmp_path)


@pytest.mark.slow
def test_a_backup_under_load_holds_what_was_acknowledged_before_it(tmp_path) -> None:
    """While rows come, are sealed and compacted: the copy opens, has every row once, and takes more."""
    config = StoreConfig(seal_interval_s=0.01, compact_interval_s=0.05, grace_s=0.2, peers_interval_s=60)
    acknowledged = 0
    going = threading.Event()
    going.set()

    def write(store: Store) -> None:
        nonlocal acknowledged
        number = 0
        while going.is_set():
            number += 1
            store.append(rows(number))
            acknowledged = number

    with Store.open(tmp_path / "data", writer="w", config=config) as store:
        thread = threading.Thread(target=write, args=(store,), daemon=True)
        thread.start()
        try:
            held = []
            for copy in range(3):
                wait_until(lambda copy=copy: acknowledged >= (copy + 1) * 20)
                before = acknowledged
                backup(tmp_path / "data", tmp_path / f"copy{copy}")
                held.append((before, acknowledged))
        finally:
            going.clear()
            thread.join(PATIENCE_S)

    for copy, (before, after) in enumerate(held):
        place = tmp_path / f"copy{copy}"
        first = counts(place)
        assert [first[0]] * 3 == first
        assert before <= first[0] <= after + 1
        assert [] == [one for one in survey(place, deep=True) if one.kind != "orphan"]
        with Store.open(place, writer="w", config=config) as again:
            again.append(rows(1, 1_000_000))
        assert [first[0] + 1] * 3 == counts(place)


def test_a_copy_whose_manifest_came_first_shows_what_was_sealed_after_it(tmp_path, open_store) -> None:
    """Files of a plain `cp -r` that the copied manifest does not know yet are live once the copy is opened."""
    store = open_store(tmp_path / "data")
    fill(store, 1)
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "data", copy)
    fill(store, 2, 3)
    store.append(rows(4))
    shutil.copytree(
        tmp_path / "data", copy, dirs_exist_ok=True, ignore=lambda _, names: [n for n in names if n.startswith("manif")]
    )

    with Store.open(copy, writer="w", config=StoreConfig(compact_interval_s=0)):
        assert [4, 4, 4] == counts(copy)


@pytest.mark.parametrize("first", ["manifest", "files"])
def test_a_copy_that_a_compaction_came_between_is_whole_once_its_manifest_is_made_anew(
    tmp_path, open_store, first
) -> None:
    """A plain `cp -r` may name merged files that it lacks: `check` says so; the files that it has hold all rows."""
    store = open_store(tmp_path / "data")
    fill(store, *range(1, 7))
    copy = tmp_path / "copy"
    steps = [lambda name: name.startswith("manif"), lambda name: not name.startswith("manif")]
    for is_wanted in steps if first == "manifest" else reversed(steps):
        for path in (path for path in (tmp_path / "data").iterdir() if is_wanted(path.name)):
            copy.mkdir(exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copy)(path, copy / path.name)
        for _ in range(2):
            compact(tmp_path / "data", config=CompactConfig(grace_s=0))

    assert "damaged" in {one.kind for one in survey(copy)}
    assert [0, 0, 0] == counts(copy)
    for name in ("manifest.json", "manifest.previous.json"):
        (copy / name).unlink(missing_ok=True)
    repair(copy)
    assert [6, 6, 6] == counts(copy)


def test_a_backup_goes_into_an_empty_folder_only(tmp_path, open_store) -> None:
    """Nothing is mixed with what is there."""
    open_store(tmp_path / "data")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "something").touch()

    with pytest.raises(StoreError, match="not empty"):
        backup(tmp_path / "data", tmp_path / "there")


def test_a_backup_leaves_the_spill_of_a_derivation_out(tmp_path, open_store) -> None:
    """It comes and goes while the store is copied, and is nothing that a copy needs."""
    open_store(tmp_path / "data")
    spill = tmp_path / "data" / SPILL / "running"
    spill.mkdir(parents=True)
    (spill / "rows-000000.arrow").write_bytes(b"rows")

    backup(tmp_path / "data", tmp_path / "copy")

    assert not (tmp_path / "copy" / SPILL).exists()
