"""What a process uses of the machine, read from `/proc`."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUse:
    """What a process has used of the machine: CPU time with that of its ended children, and memory now."""

    cpu_s: float
    memory_bytes: int


def process_use(pid: int) -> ProcessUse | None:
    """What a process uses; None where that cannot be told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ticks = sum(int(field) for field in fields[11:15])
    return ProcessUse(cpu_s=ticks / os.sysconf("SC_CLK_TCK"), memory_bytes=int(fields[21]) * resource.getpagesize())
