"""Recorded sessions, packed: the export requests of real agents, from which a load is made.

`sessions.tar.xz` holds a folder for each session: `session.json`, and its requests in order as
`NUMBER.SIGNAL.pb`. `python tests/bench/pack.py` makes it from the recordings of the tests.
"""

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath
from typing import BinaryIO

import orjson

from headgate_processors.otlp.port import Signal

TAIL = "s0000000000"
"""Ends every id that is neither UUID nor ULID nor trace; in each made session it becomes another text."""
BLANK = "~"
"""Fills the numbers of a claimed team, workflow, user and repository, such as `team-~~`."""
_PACKED = "sessions.tar.xz"
_ABOUT = "session.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """One request in protobuf, and how long after the session's first record it arrived."""

    signal: Signal
    body: bytes
    due_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSession:
    """What one run of an agent sent.

    `name` is `AGENT/SCENARIO`. `weight` says how often it is taken, next to the others. `figures` is what
    comes of it: `sessions`, `model_calls` (neither failed nor embeddings), `tool_calls`, `input_tokens`,
    `output_tokens` and `cache_read_tokens`, None where the agent does not say. `words` are those of its
    content that can be any others without changing a figure.
    """

    name: str
    weight: float
    start_unix_nano: int
    figures: Mapping[str, int | None]
    words: Sequence[str]
    requests: Sequence[RecordedRequest]

    @property
    def agent(self) -> str:
        """The agent and its instrumentation."""
        return self.name.rpartition("/")[0]

    @property
    def scenario(self) -> str:
        """What the agent was made to do, without how: `multi_step`, `loop`, `provider_errors`, …"""
        return self.name.rpartition("/")[2].partition("+")[0]


def read_sessions(file: BinaryIO | None = None) -> list[RecordedSession]:
    """The sessions of a file, or those that come with Headgate, by name."""
    if file is None:
        packed = resources.files("headgate_processors.generate") / _PACKED
        return read_sessions(io.BytesIO(packed.read_bytes()))
    folders: dict[str, dict[str, bytes]] = {}
    with tarfile.open(fileobj=file, mode="r:xz") as archive:
        for member in archive:
            path, content = PurePosixPath(member.name), archive.extractfile(member)
            if content is not None:
                folders.setdefault(str(path.parent), {})[path.name] = content.read()
    return [_session(name, files) for name, files in sorted(folders.items())]


def write_sessions(file: BinaryIO, sessions: Iterable[RecordedSession]) -> None:
    """Pack sessions; the same ones always give the same bytes."""
    with tarfile.open(fileobj=file, mode="w:xz", preset=9) as archive:
        for session in sessions:
            _add(archive, f"{session.name}/{_ABOUT}", _about(session))
            for number, request in enumerate(session.requests):
                _add(archive, f"{session.name}/{number:04d}.{request.signal}.pb", request.body)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _about(session: RecordedSession) -> bytes:
    about = {
        "weight": session.weight,
        "start_unix_nano": session.start_unix_nano,
        "figures": dict(session.figures),
        "words": list(session.words),
        "due_ns": [request.due_ns for request in session.requests],
    }
    return orjson.dumps(about)


def _session(name: str, files: Mapping[str, bytes]) -> RecordedSession:
    about = orjson.loads(files[_ABOUT])
    bodies = [(file, body) for file, body in sorted(files.items()) if file != _ABOUT]
    requests = [
        RecordedRequest(signal=Signal(file.split(".")[1]), body=body, due_ns=due_ns)
        for (file, body), due_ns in zip(bodies, about["due_ns"], strict=True)
    ]
    return RecordedSession(
        name=name,
        weight=about["weight"],
        start_unix_nano=about["start_unix_nano"],
        figures=about["figures"],
        words=about["words"],
        requests=requests,
    )
