"""Compaction apart: in a process that lives for one compaction, gives way to others, and takes its memory with it."""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import orjson

from headgate_processors.errors import StoreError
from headgate_processors.memory import SPARING
from headgate_processors.store.compaction import CompactionHeldError, CompactReport
from headgate_processors.store.config import CompactConfig
from headgate_processors.store.retention import Retention
from headgate_processors.store.watermark import Reserve

_CHILD = "headgate_processors.store.compactor"
_LOOK_S = 0.5
_END_S = 10.0
_LONGEST_S = 3600.0


def compact_apart(
    folder: Path, *, config: CompactConfig, should_end: Callable[[], bool] = lambda: False
) -> CompactReport:
    """As `compact`, in a process of its own; it is killed when it takes an hour, or does not end when it should.

    Raises:
        CompactionHeldError: another process compacts the store.
        StoreError: the compaction failed, or its process ended without an answer; what it finished stands.
        OSError: the process cannot be started.
    """
    with subprocess.Popen(  # noqa: S603 - our own module, no shell
        [sys.executable, "-P", "-m", _CHILD, written_task(folder, config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | SPARING,
    ) as process:
        return _report(_answered(process, should_end), process)


def written_task(folder: Path, config: CompactConfig) -> str:
    """What to compact and how, as text for another process."""
    return orjson.dumps({"folder": str(folder), "config": asdict(config)}).decode()


def read_task(text: str) -> tuple[Path, CompactConfig]:
    """What `written_task` wrote."""
    task = orjson.loads(text)
    values = task["config"]
    reserve, retention = Reserve(**values.pop("disk_free_min")), Retention(**values.pop("retention"))
    return Path(task["folder"]), CompactConfig(**values, disk_free_min=reserve, retention=retention)


def _answered(process: "subprocess.Popen[bytes]", should_end: Callable[[], bool]) -> bytes:
    """What the process says before it ends; nothing when it had to be killed."""
    assert process.stdin is not None
    assert process.stdout is not None
    until_s, told = time.monotonic() + _LONGEST_S, False
    with selectors.DefaultSelector() as says:
        says.register(process.stdout, selectors.EVENT_READ)
        while not says.select(_LOOK_S):
            if time.monotonic() >= until_s:
                process.kill()
            elif not told and should_end():
                told, until_s = True, time.monotonic() + _END_S
                with suppress(BrokenPipeError):
                    process.stdin.write(b".")
                    process.stdin.flush()
    return process.stdout.read()


def _report(answer: bytes, process: "subprocess.Popen[bytes]") -> CompactReport:
    found = orjson.loads(answer) if answer else {}
    if "report" in found:
        return CompactReport(**found["report"])
    if "held" in found:
        raise CompactionHeldError(found["held"])
    raise StoreError(found.get("error") or f"the compactor ended without an answer (code {process.wait()})")
