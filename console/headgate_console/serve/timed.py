"""The store as the pipeline sees it, with a watch on its commits."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from headgate_processors.store import Store
from headgate_processors.store.commit import Appended
from headgate_processors.telemetry import Meter


@dataclass(frozen=True, slots=True)
class TimedSink:
    """A sink whose commits are timed."""

    store: Store
    meter: Meter

    def append(self, batches: Mapping[str, pa.RecordBatch]) -> Appended:
        """As the store does."""
        began_s = time.monotonic()
        appended = self.store.append(batches)
        self.meter.record("headgate_store_commit_seconds", time.monotonic() - began_s)
        return appended
