"""What the figures were measured on."""

import os
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path

import pyarrow as pa

FSYNCS = 40
FSYNC_BYTES = 256 << 10


def machine(folder: Path) -> dict[str, str]:
    """The machine in words, `folder` being on the disk that the store is on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {name: metadata.version(name) for name in ("duckdb", "grpcio", "protobuf", "numpy")}
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory:.1f} GiB",
        "disk": f"fsync of {FSYNC_BYTES >> 10} KiB: {_fsync_ms(folder):.1f} ms at the median",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {one}" for name, one in {"pyarrow": pa.__version__, **versions}.items()),
        "load before": " ".join(f"{one:.2f}" for one in os.getloadavg()) + " (1, 5, 15 minutes)",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _fsync_ms(folder: Path) -> float:
    path, times = folder / "fsync", []
    with path.open("wb") as file:
        for _ in range(FSYNCS):
            file.write(os.urandom(FSYNC_BYTES))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(times) * 1e3
