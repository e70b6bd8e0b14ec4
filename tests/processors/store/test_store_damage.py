"""Damage: what is broken is named and set aside, everything else is served, and nothing that runs stops."""

import json
import logging
import os
from pathlib import Path

import pytest

from headgate_processors.errors import StoreError
from headgate_processors.store import CompactConfig, StoreReader, compact
from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.manifest import LiveFile, read_manifest, update_manifest
from headgate_processors.store.quarantine import set_aside_damaged, take_back
from headgate_processors.testing.rows import batch, child, span

DAMAGES = ("noise", "middle", "cut", "longer", "empty", "gone", "swapped")


def rows(*numbers: int):
    """Rows to append: these spans, each with an event."""
    spans = [span(number, trace=number) for number in numbers]
    return {"spans": batch("spans", spans), "span_events": batch("span_events", map(child, spans))}


def record_ids(*numbers: int) -> list[str]:
    """The record ids of these spans."""
    return [str(span(number, trace=number)["record_id"]) for number in numbers]


def fill(store, *numbers: int) -> None:
    """Seal one span after the other."""
    for number in numbers:
        store.append(rows(number))
        store.seal()


def harm(path: Path, kind: str, *, other: Path | None = None) -> bytes:
    """Damage a file; what it held."""
    content = path.read_bytes()
    path.chmod(0o600)
    middle = len(content) // 2
    damaged = {
        "noise": bytes(byte ^ 0x5A for byte in content),
        "middle": content[: middle - 32] + b"\xff" * 64 + content[middle + 32 :],
        "cut": content[:-1],
        "longer": content + b"x",
        "empty": b"",
        "swapped": (other or path).read_bytes(),
    }
    path.unlink()
    if kind != "gone":
        path.write_bytes(damaged[kind])
    return content


def paths(folder: Path) -> list[Path]:
    """The live files of spans, oldest first."""
    return [folder / file.path for file in sorted(read_manifest(folder).of("spans"), key=lambda file: file.path)]


@pytest.mark.parametrize("kind", DAMAGES)
def test_queries_go_on_without_a_damaged_file(tmp_path, open_store, ids, caplog, kind) -> None:
    """A file overwritten, cut, emptied, removed or replaced by another is named; all other rows are shown."""
    fill(open_store(), 1, 2, 3)
    first, second, third = paths(tmp_path)
    harm(second, kind, other=third)

    assert record_ids(1, 3) == ids()
    assert f"{second} is damaged" in caplog.text
    assert "1 rows of spans" in caplog.text
    assert record_ids(1, 2, 3) == ids("span_events")
    assert first.exists()


def test_damage_that_kept_the_time_of_change_is_found_by_the_query(tmp_path, open_store, ids, caplog) -> None:
    """Bits that rot inside a file are noticed when it is read: it is set aside, and the query answered without it."""
    fill(open_store(), 1, 2)
    path = paths(tmp_path)[0]
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(content[:4] + b"\xff" * (len(content) - 2000) + content[len(content) - 1996 :])
    os.utime(path, ns=times)

    found = StoreReader(tmp_path).query("SELECT * FROM spans ORDER BY record_id")

    assert record_ids(2) == found.column("record_id").to_pylist()
    assert f"set aside: {path} is damaged" in caplog.text
    assert record_ids(2) == ids()


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_running_store_sets_damage_aside_and_goes_on(tmp_path, open_store, ids, kind) -> None:
    """The writer keeps what is left of the file in `damaged/`, appends, seals and compacts as before."""
    store = open_store(scrub_interval_s=0.0)
    fill(store, 1, 2)
    path, other = paths(tmp_path)
    harm(path, kind, other=other)
    left = path.read_bytes() if path.exists() else None

    store._seal_round()
    fill(store, 3)
    report = compact(tmp_path, config=CompactConfig(grace_s=0))

    assert record_ids(2, 3) == ids()
    (damaged,) = read_manifest(tmp_path).damaged
    assert (path, "spans", 1) == (tmp_path / damaged.file.path, damaged.file.dataset, damaged.file.rows)
    kept = tmp_path / "damaged" / damaged.file.path
    assert left == (kept.read_bytes() if kept.exists() else None)
    assert 1 == store.counters["damaged_files"]
    assert 0 == report.set_aside_files


def test_a_start_goes_on_without_damaged_files(tmp_path, open_store, ids, caplog) -> None:
    """The window is filled from what can be read; what cannot is named."""
    store = open_store()
    fill(store, 1, 2)
    store.close()
    path = paths(tmp_path)[0]
    harm(path, "noise")

    store = open_store()
    store.append(rows(1, 2, 4))

    assert record_ids(1, 2, 4) == ids()
    assert f"{path} is damaged" in caplog.text


def test_compaction_sets_aside_what_it_cannot_read(tmp_path, open_store, ids) -> None:
    """Damage that a glance does not show ends no compaction: the file goes, the rest is merged."""
    fill(open_store(), 1, 2, 3)
    path = paths(tmp_path)[1]
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(b"\0" * (len(content) - 8) + content[-8:])
    os.utime(path, ns=times)

    report = compact(tmp_path)

    assert 1 == report.set_aside_files
    assert record_ids(1, 3) == ids()
    assert 1 == len(read_manifest(tmp_path).of("spans"))


def test_a_file_put_back_from_a_copy_is_taken_back(tmp_path, open_store, ids) -> None:
    """What was set aside is live again once it stands whole where it was."""
    fill(open_store(), 1, 2)
    path = paths(tmp_path)[0]
    content = harm(path, "noise")
    assert [path] == [one.path for one in set_aside_damaged(tmp_path, disk=LocalDisk())]
    assert record_ids(2) == ids()
    assert () == take_back(tmp_path, disk=LocalDisk())

    path.write_bytes(content)

    assert [path] == [tmp_path / file.path for file in take_back(tmp_path, disk=LocalDisk())]
    assert record_ids(1, 2) == ids()
    assert () == read_manifest(tmp_path).damaged


def test_a_touched_file_with_its_content_stays(tmp_path, open_store, ids, caplog) -> None:
    """A new time of change alone is no damage, and is noted so that the file is not read again and again."""
    store = open_store(scrub_interval_s=0.0)
    fill(store, 1)
    path = paths(tmp_path)[0]
    path.touch()

    store._seal_round()

    assert record_ids(1) == ids()
    assert path.stat().st_mtime_ns == read_manifest(tmp_path).of("spans")[0].modified_unix_nano
    assert "" == caplog.text


@pytest.mark.parametrize("kind", ["noise", "cut", "empty", "gone", "flipped"])
def test_a_damaged_manifest_is_made_again(tmp_path, open_store, ids, caplog, kind) -> None:
    """From the one before and the files sealed since: nothing is missing, nothing doubled, and writing goes on."""
    caplog.set_level(logging.ERROR)
    store = open_store()
    fill(store, 1, 2, 3)
    path = tmp_path / "manifest.json"
    if kind == "flipped":
        text = path.read_text()
        path.write_text(text.replace('"rows":1', '"rows":2'))
    else:
        harm(path, kind)

    assert record_ids(1, 2, 3) == ids()
    assert str(path) in caplog.text
    fill(store, 4)
    assert record_ids(1, 2, 3, 4) == ids()
    assert record_ids(1, 2, 3, 4) == ids("span_events")
    assert json.loads(path.read_bytes())["version"]
    caplog.clear()
    assert record_ids(1, 2, 3, 4) == ids()
    assert "" == caplog.text


def test_a_manifest_damaged_after_a_compaction_is_made_again(tmp_path, open_store, ids) -> None:
    """The compaction is undone, for what it merged still stands."""
    store = open_store()
    fill(store, 1, 2, 3)
    compact(tmp_path)
    harm(tmp_path / "manifest.json", "noise")

    fill(store, 4)

    assert record_ids(1, 2, 3, 4) == ids()
    assert record_ids(1, 2, 3, 4) == ids("span_events")


def test_a_lost_manifest_names_the_command_that_mends_it(tmp_path, open_store) -> None:
    """Without the one before, nothing is guessed: an empty store would be a lie."""
    store = open_store()
    fill(store, 1)
    store.close()
    for name in ("manifest.json", "manifest.previous.json"):
        (tmp_path / name).unlink()

    with pytest.raises(StoreError, match="headgate store repair"):
        StoreReader(tmp_path).connect()
    with pytest.raises(StoreError, match="headgate store repair"):
        open_store()


def test_a_manifest_with_unknown_files_loses_none_that_are_being_sealed(tmp_path, open_store, ids) -> None:
    """Files whose segment still stands are left to the seal that wrote them."""
    store = open_store()
    fill(store, 1, 2)
    store.append(rows(3))
    (segment,) = (tmp_path / "segments").iterdir()
    content = segment.read_bytes()
    store.seal()
    segment.write_bytes(content)
    harm(tmp_path / "manifest.json", "noise")

    assert record_ids(1, 2, 3) == ids()
    files: tuple[LiveFile, ...] = read_manifest(tmp_path).of("spans")
    assert 2 == len(files)
    store.close()
    update_manifest(tmp_path, lambda manifest: manifest, disk=LocalDisk())
    open_store()
    assert record_ids(1, 2, 3) == ids()
