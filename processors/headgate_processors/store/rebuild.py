"""The manifest from the files, when what says which of them are live is damaged or lost."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq

from headgate_processors.schema import DATASETS
from headgate_processors.store.checksum import checksum
from headgate_processors.store.layout import ANY_BUCKET, SEQUENCE_DIGITS, sequence_of
from headgate_processors.store.live import LiveFile, Manifest
from headgate_processors.store.parquet import schema_id


def manifest_since(root: Path, previous: Manifest) -> Manifest:
    """What the manifest after `previous` must have said: files of segments that were sealed since are live too.

    A compaction since is undone, for its sources still stand; derived tables are to be derived again.
    """
    return replace(with_unlisted(root, previous), derived_epoch=previous.derived_epoch + 1)


def with_unlisted(root: Path, manifest: Manifest) -> Manifest:
    """The next state: files of sealed segments that the manifest does not know are live; itself when there are none.

    So it is with a copy whose manifest was copied before its files, and with a manifest that was restored.
    """
    files = [file for path in unlisted(root, manifest) if (file := described(root, path)) is not None]
    if not files:
        return manifest
    sealed = dict(manifest.sealed)
    for file in files:
        writer, sequence = _sealed_as(root / file.path) or ("", 0)
        sealed[writer] = max(sealed.get(writer, -1), sequence)
    return replace(manifest.with_rows(files), sealed=MappingProxyType(sealed))


def unlisted(root: Path, manifest: Manifest) -> Iterator[Path]:
    """Files that a seal finished, for their segment is gone, and that the manifest neither lists nor ever listed."""
    known = {file.path for file in manifest.files} | {file.path for file in manifest.dead}
    known |= {one.file.path for one in manifest.damaged}
    for path in data_files(root):
        named = _sealed_as(path)
        if named is None or named[1] <= manifest.sealed.get(named[0], -1) or _is_being_sealed(root, path):
            continue
        if path.relative_to(root).as_posix() not in known:
            yield path


def manifest_of_files(root: Path) -> Manifest:
    """A manifest in which every raw file that can be read is live, and none is settled; nothing is derived.

    It may hold both a file and those it was made of: views leave repeated records out, and compaction removes them.
    """
    files: list[LiveFile] = []
    sealed: dict[str, int] = {}
    for path in data_files(root):
        if not _is_being_sealed(root, path) and (file := described(root, path)) is not None:
            files.append(replace(file, live_version=1))
            if (named := _sealed_as(path)) is not None:
                sealed[named[0]] = max(sealed.get(named[0], -1), named[1])
    return Manifest(version=1, derived_epoch=1, files=tuple(files), sealed=MappingProxyType(sealed))


def _sealed_as(path: Path) -> tuple[str, int] | None:
    """The writer and segment that a file comes from; None for a compacted one."""
    number = path.stem.rpartition("-")[2]
    return sequence_of(path.with_suffix(".seg")) if len(number) == SEQUENCE_DIGITS else None


def _is_being_sealed(root: Path, path: Path) -> bool:
    return (root / "segments" / path.with_suffix(".seg").name).exists()


def data_files(root: Path) -> Iterator[Path]:
    """Every raw Parquet file in the folder, live or not."""
    for dataset in DATASETS:
        yield from sorted(root.glob(f"{dataset}/day=*/bucket=*/*.parquet"))


def described(root: Path, path: Path) -> LiveFile | None:
    """What the manifest says of a raw file; None when it cannot be read."""
    dataset, day, bucket = path.relative_to(root).parts[:3]
    try:
        parquet = pq.read_metadata(path)
        received = pq.read_table(path, columns=["received_unix_nano"], partitioning=None).column(0)
        found, crc32 = path.stat(), checksum(path)
    except (pa.ArrowException, OSError):
        return None
    times = received.to_numpy()
    place = bucket.removeprefix("bucket=")
    return LiveFile(
        dataset=dataset,
        path=path.relative_to(root).as_posix(),
        derived=False,
        day=day.removeprefix("day="),
        bucket=None if place == ANY_BUCKET else int(place),
        rows=parquet.num_rows,
        bytes=found.st_size,
        min_received_unix_nano=int(times.min()) if len(times) else None,
        max_received_unix_nano=int(times.max()) if len(times) else None,
        settled=False,
        schema_id=schema_id(parquet.schema.to_arrow_schema()),
        crc32=crc32,
        modified_unix_nano=found.st_mtime_ns,
    )
