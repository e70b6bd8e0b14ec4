"""Processes of a service under test, found below the one that was started."""

from pathlib import Path


def descendants(pid: int, *, command: str = "") -> list[int]:
    """The processes below `pid` whose command line contains `command`, by process id."""
    parents = {process: found for process in _processes() if (found := _parent(process)) is not None}
    below = {pid}
    while grown := {process for process, parent in parents.items() if parent in below} - below:
        below |= grown
    return sorted(process for process in below - {pid} if command in command_line(process))


def command_line(pid: int) -> str:
    """What a process was started with; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
