"""What knowing the last records costs: memory and time of the window against repeats, as records go by.

`python tests/bench/window.py` prints a table; `measure` gives one row of it.
"""

import argparse
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from headgate_processors.store.config import StoreConfig
from headgate_processors.store.dedupe import Windows

BATCH_ROWS = 1_000
START_NS = 1_764_000_000_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowCost:
    """After so many records, the last tenth of them sent twice."""

    records: int
    remembered_max: int
    cpu_us_per_record: float
    memory_bytes: int
    repeats_sent: int
    repeats_dropped: int


def measure(records: int, *, remembered_max: int = StoreConfig().dedupe_rows_max) -> WindowCost:
    """Send records through a window of spans, then a tenth of what it must remember again."""
    windows = Windows(rows_max=remembered_max, skew_ns=5_000_000_000)
    before = _resident_bytes()
    cpu_s = sum(_send(windows, first) for first in range(0, records, BATCH_ROWS))
    memory = _resident_bytes() - before
    again = min(records, remembered_max // 2)
    dropped = 0
    for first in range(records - again, records, BATCH_ROWS):
        dropped += windows.screen({"spans": _batch(first)}).dropped_rows.get("spans", 0)
    return WindowCost(
        records=records,
        remembered_max=remembered_max,
        cpu_us_per_record=cpu_s / records * 1e6,
        memory_bytes=memory,
        repeats_sent=again,
        repeats_dropped=dropped,
    )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def _send(windows: Windows, first: int) -> float:
    batches = {"spans": _batch(first)}
    began_s = time.process_time()
    windows.accept(windows.screen(batches))
    return time.process_time() - began_s


def _batch(first: int) -> pa.RecordBatch:
    numbers = range(first, first + BATCH_ROWS)
    times = pa.array([START_NS + number * 1_000 for number in numbers], pa.int64())
    return pa.RecordBatch.from_pydict(
        {
            "record_id": pa.array([f"{number:032x}{number:016x}" for number in numbers]),
            "start_time_unix_nano": times,
            "end_time_unix_nano": times,
            "received_unix_nano": times,
        }
    )


def main() -> None:
    """Print a table of a few sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    print("| records | CPU per record | memory | sent again | dropped |\n| --- | --- | --- | --- | --- |")
    for records in parser.parse_args().records:
        cost = measure(records)
        print(
            f"| {records:,} | {cost.cpu_us_per_record:.2f} µs | {cost.memory_bytes / 2**20:.0f} MiB "
            f"| {cost.repeats_sent:,} | {cost.repeats_dropped:,} |"
        )


if __name__ == "__main__":
    main()
