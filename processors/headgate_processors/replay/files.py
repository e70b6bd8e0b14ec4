"""Finds and reads recorded OTLP: JSON lines and protobuf, plain, gzip or zstd.

A file whose name ends in `.jsonl` or `.ndjson` holds JSON lines, one in `.pb`, `.bin`, `.otlp`, `.proto`
or `.binpb` protobuf; `.json` and names that are given one by one are looked into. In a folder, files with
other names are passed over, and so are those that belong to a recording without being one.
"""

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import zstandard

from headgate_processors.errors import ConfigError
from headgate_processors.replay.jsonlines import json_document, json_lines
from headgate_processors.replay.messages import protobuf_requests
from headgate_processors.replay.requests import ReplayItem, ReplayRefusal

JSON_LINES = frozenset({".jsonl", ".ndjson"})
PROTOBUF = frozenset({".pb", ".bin", ".otlp", ".proto", ".binpb"})
EITHER = frozenset({".json"})
PASSED_OVER = frozenset({"expected.json", "truth.json", "versions.txt", "package.json"})
_COMPRESSED = frozenset({".gz", ".zst"})
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"

Form = Literal["lines", "document", "protobuf"]
Reader = Callable[[Path, io.BufferedReader], Iterator[ReplayItem]]


def read_requests(paths: Iterable[Path]) -> Iterator[ReplayItem]:
    """Every request in files and folders, in order: as the paths are given, folders by name.

    What cannot be read is a `ReplayRefusal` in its place and stops nothing.

    Raises:
        ConfigError: a path does not exist; raised before anything is read.
    """
    return (item for path in replay_files(paths) for item in read_file(path))


def replay_files(paths: Iterable[Path]) -> list[Path]:
    """The files that a replay of `paths` reads.

    Raises:
        ConfigError: a path does not exist.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += _in_folder(path)
        elif path.exists():
            files.append(path)
        else:
            message = f"{path} does not exist: expected a file or folder of recorded OTLP"
            raise ConfigError(message)
    return files


def read_file(path: Path) -> Iterator[ReplayItem]:
    """Every request of one file."""
    line = 0
    try:
        with path.open("rb") as raw, _decompressed(raw) as stream:
            read = _READERS[_form(path, stream)]
            for item in read(path, stream):
                line = item.line
                yield item
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        yield ReplayRefusal(path=path, line=line + 1, reason=f"cannot be read further: {error}")


def _in_folder(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(where, name)
            if _is_recording(path):
                yield path


def _is_recording(path: Path) -> bool:
    if path.name in PASSED_OVER or path.name.startswith("."):
        return False
    return _suffix(path) in JSON_LINES | PROTOBUF | EITHER


def _suffix(path: Path) -> str:
    """The suffix that tells the form, that of a compression left out."""
    return Path(path.stem if path.suffix.lower() in _COMPRESSED else path.name).suffix.lower()


def _decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    head = raw.read(4)
    raw.seek(0)
    if head[:2] == _GZIP:
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    if head == _ZSTD:
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True))
    return raw


def _form(path: Path, stream: io.BufferedReader) -> Form:
    suffix = _suffix(path)
    if suffix in JSON_LINES:
        return "lines"
    if suffix in PROTOBUF:
        return "protobuf"
    return "document" if stream.peek(64)[:64].lstrip()[:1] == b"{" else "protobuf"


_READERS: Mapping[Form, Reader] = {"lines": json_lines, "document": json_document, "protobuf": protobuf_requests}
