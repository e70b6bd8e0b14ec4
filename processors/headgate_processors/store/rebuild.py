"""The manifest from the files, when what says which of them are live is damaged or lost."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq

from headgate_processors.schema import DATASETS
from headgate_processors.store.layout import ANY_BUCKET, sequence_of
from headgate_processors.store.live import LiveFile, Manifest
from headgate_processors.store.parquet import checksum, schema_id


def manifest_since(root: Path, previous: Manifest) -> Manifest:
    """What the manifest after `previous` must have said: files of segments that were sealed since are live too.

    A compaction since is undone, for its sources still stand; derived tables are to be derived again.
    """
    known = {file.path for file in previous.files} | {file.path for file in previous.dead}
    sealed = dict(previous.sealed)
    files = []
    for path in data_files(root):
        named = sequence_of(path.with_suffix(".seg"))
        relative = path.relative_to(root).as_posix()
        if relative in known or named is None or named[1] <= previous.sealed.get(named[0], -1):
            continue
        if (root / "segments" / path.with_suffix(".seg").name).exists():
            continue
        if (file := described(root, path)) is not None:
            files.append(file)
            sealed[named[0]] = max(sealed.get(named[0], -1), named[1])
    return replace(previous.with_rows(files), sealed=MappingProxyType(sealed), derived_epoch=previous.derived_epoch + 1)


def manifest_of_files(root: Path) -> Manifest:
    """A manifest in which every raw file that can be read is live, and none is settled; nothing is derived.

    It may hold both a file and those it was made of: views leave repeated records out, and compaction removes them.
    """
    files: list[LiveFile] = []
    sealed: dict[str, int] = {}
    for path in data_files(root):
        if (file := described(root, path)) is not None:
            files.append(replace(file, live_version=1))
            if (named := sequence_of(path.with_suffix(".seg"))) is not None:
                sealed[named[0]] = max(sealed.get(named[0], -1), named[1])
    return Manifest(version=1, derived_epoch=1, files=tuple(files), sealed=MappingProxyType(sealed))


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
