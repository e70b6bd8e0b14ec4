"""The bundled recordings, moved in time so that they happened just now."""

import gzip
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

MINUTE_NS = 60_000_000_000
APART_NS = 6 * MINUTE_NS
LAST_ENDED_AGO_NS = MINUTE_NS // 3


def write_recent(folder: Path, *, now_unix_nano: int) -> list[Path]:
    """Write every recording to `folder`; the first one ended 20 seconds ago, each other six minutes before the last."""
    written = []
    for position, (name, lines) in enumerate(sorted(_recordings(), key=_age)):
        end_unix_nano = now_unix_nano - LAST_ENDED_AGO_NS - position * APART_NS
        shift_ns = end_unix_nano - max(time for line in lines for time in _times(line))
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(_moved(line, shift_ns)) + "\n" for line in lines), encoding="utf-8")
        written.append(path)
    return written


def _recordings() -> Iterator[tuple[str, list[Any]]]:
    for file in (resources.files("headgate_console.demo") / "recordings").iterdir():
        if file.name.endswith(".jsonl.gz"):
            text = gzip.decompress(file.read_bytes()).decode()
            yield file.name.removesuffix(".jsonl.gz"), [json.loads(line) for line in text.splitlines()]


def _age(recording: tuple[str, list[Any]]) -> tuple[bool, str]:
    """What was killed before its end comes last in time, so that it still seems to run."""
    name = recording[0]
    return not name.endswith("killed"), name


def _is_time(key: str, value: Any) -> bool:
    return key.endswith("UnixNano") and isinstance(value, str | int) and int(value) > 0


def _times(node: Any) -> Iterator[int]:
    if isinstance(node, dict):
        for key, value in node.items():
            if _is_time(key, value):
                yield int(value)
            else:
                yield from _times(value)
    elif isinstance(node, list):
        for item in node:
            yield from _times(item)


def _moved(node: Any, shift_ns: int) -> Any:
    if isinstance(node, dict):
        return {
            key: str(int(value) + shift_ns) if _is_time(key, value) else _moved(value, shift_ns)
            for key, value in node.items()
        }
    return [_moved(item, shift_ns) for item in node] if isinstance(node, list) else node
