"""What a folder says about itself."""

import json

import pytest

from headgate_processors.errors import StoreError
from headgate_processors.store import StoreReader, compact
from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.folder import default_writer, make_folder, open_folder
from headgate_processors.store.layout import sequence_of
from headgate_processors.store.manifest import read_manifest


def test_a_store_says_how_it_is_laid_out(tmp_path) -> None:
    """Format, buckets and hash stand in `store.json`; the first to make it decides."""
    made = make_folder(tmp_path, buckets=4, disk=LocalDisk())
    again = make_folder(tmp_path, buckets=64, disk=LocalDisk())
    found = json.loads((tmp_path / "store.json").read_bytes())

    assert made == again == open_folder(tmp_path)
    assert {"format": 1, "buckets": 4, "hash": "sha256-prefix"} == {
        name: found[name] for name in ("format", "buckets", "hash")
    }
    assert () == read_manifest(tmp_path).files
    assert (tmp_path / "manifest.json").exists()


def test_buckets_follow_the_named_hash(tmp_path) -> None:
    """Anybody can compute a bucket: SHA-256 of the key, first 8 hexadecimal digits, modulo the buckets."""
    folder = make_folder(tmp_path, buckets=16, disk=LocalDisk())

    # echo -n key | sha256sum
    assert 0x2C70E12B % 16 == folder.bucket("key")
    assert 0xE3B0C442 % 16 == folder.bucket(None)


@pytest.mark.parametrize("changed", [{"format": 2}, {"hash": "xxh3"}])
def test_a_newer_store_is_refused_with_a_sentence(tmp_path, open_store, changed) -> None:
    """An older Headgate neither reads nor writes what it does not know."""
    open_store().close()
    path = tmp_path / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changed}))

    for attempt in (open_store, StoreReader(tmp_path).connect, lambda: compact(tmp_path)):
        with pytest.raises(StoreError, match=r"newer Headgate.*upgrade"):
            attempt()


def test_damaged_metadata_is_named(tmp_path, open_store) -> None:
    """A metadata file that is no JSON is an error that names it, not a traceback."""
    open_store().close()
    (tmp_path / "store.json").write_text("{ half")

    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        StoreReader(tmp_path).connect()


def test_a_folder_without_a_store_is_told_so(tmp_path) -> None:
    """The sentence says what to do."""
    with pytest.raises(StoreError, match=r"holds no store.*headgate replay"):
        StoreReader(tmp_path / "nothing").connect()


@pytest.mark.parametrize("writer", ["", "../up", "a/b", "-a", "x" * 65, "a b"])
def test_a_writer_name_must_fit_into_a_file_name(open_store, writer) -> None:
    """A name that could leave the folder is refused; the empty one means the host's."""
    if writer:
        with pytest.raises(StoreError, match="writer name"):
            open_store(writer=writer)
    else:
        assert default_writer() == open_store(writer="").writer


def test_names_of_segments_are_read_back(tmp_path) -> None:
    """Writer and number come back out of a name, whatever the writer is called."""
    folder = make_folder(tmp_path, buckets=16, disk=LocalDisk())

    assert ("a-b-7", 12) == sequence_of(folder.segment("a-b-7", 12))
    assert None is sequence_of(tmp_path / "notes.txt")
    assert None is sequence_of(tmp_path / "w-x.seg")
