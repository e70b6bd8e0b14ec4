"""What the processes of `headgate up` measure, and where each figure is read from."""

import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from headgate_console.settings import Settings
from headgate_processors.pipeline import Pipeline
from headgate_processors.store import Store
from headgate_processors.store.manifest import read_manifest
from headgate_processors.telemetry import Meter, Series
from headgate_processors.workers import Preparer, WorkerPool

MANIFEST_LOOK_S = 5.0
_COUNTS: Mapping[str, str] = {
    "headgate_store_commits_total": "commits",
    "headgate_store_commit_failures_total": "commit_failures",
    "headgate_store_overloads_total": "overloads",
    "headgate_store_disk_refusals_total": "disk_refusals",
    "headgate_store_seals_total": "sealed_segments",
    "headgate_store_seal_failures_total": "seal_failures",
    "headgate_store_compactions_total": "compactions",
    "headgate_store_compact_failures_total": "compact_failures",
    "headgate_store_damaged_files_total": "damaged_files",
}


def open_meter(service: str, settings: Settings) -> Meter:
    """The meter of a process; it sends to whom the standard variables of OpenTelemetry name, but never to itself."""
    receiver = settings.receiver
    return Meter(service, own=(receiver.grpc, receiver.http, receiver.platform), export=True)


def unready(store: Store, preparer: Preparer) -> str | None:
    """Why requests are refused at this moment, for health and readiness; None when they are taken."""
    load = store.load
    if load.disk_lack is not None:
        return load.disk_lack
    if load.seal_error is not None:
        return f"rows cannot be sealed: {load.seal_error}"
    if isinstance(preparer, WorkerPool) and not preparer.state.workers:
        return "no decode worker runs; the log says why"
    return None


def watch_receiver(meter: Meter, *, store: Store, preparer: Preparer, pipeline: Pipeline, folder: Path) -> None:
    """Tell of the queue, the workers, the store and its disk."""
    meter.watch("headgate_receiver_queue_requests", lambda: {(): pipeline.queued[0]})
    meter.watch("headgate_receiver_queue_bytes", lambda: {(): pipeline.queued[1]})
    _watch_workers(meter, preparer)
    _watch_store(meter, store, folder)


def _watch_workers(meter: Meter, preparer: Preparer) -> None:
    if not isinstance(preparer, WorkerPool):
        return
    read: Mapping[str, Callable[[], Series]] = {
        "headgate_worker_processes": lambda: {(): preparer.state.workers},
        "headgate_worker_busy": lambda: {(): preparer.state.busy},
        "headgate_worker_busy_seconds_total": lambda: {(): preparer.state.busy_s},
        "headgate_worker_cpu_seconds_total": lambda: {(): preparer.state.cpu_s},
        "headgate_worker_memory_bytes": lambda: {(): preparer.state.rss_bytes},
        "headgate_worker_restarts_total": lambda: _by_label(preparer.state.restarts),
        "headgate_worker_poisoned_total": lambda: {(): preparer.state.poisoned},
    }
    for name, function in read.items():
        meter.watch(name, function)


def _watch_store(meter: Meter, store: Store, folder: Path) -> None:
    live = _LiveFiles(folder)
    read: Mapping[str, Callable[[], Series]] = {
        "headgate_store_queue_requests": lambda: {(): store.load.queued_requests},
        "headgate_store_queue_bytes": lambda: {(): store.load.queued_bytes},
        "headgate_store_unsealed_bytes": lambda: {(): store.load.unsealed_bytes},
        "headgate_store_seal_lag_seconds": lambda: {(): store.load.unsealed_age_s},
        "headgate_store_rows_appended_total": lambda: _by_label(_below(store.counters, "appended.")),
        "headgate_store_rows_duplicate_total": lambda: _by_label(_below(store.counters, "duplicates.")),
        "headgate_store_rows_forgotten_total": lambda: _by_label(_below(store.counters, "forgotten.")),
        "headgate_store_files": lambda: {(): live.look()[0]},
        "headgate_store_bytes": lambda: {(): live.look()[1]},
        "headgate_store_disk_free_bytes": lambda: {(): store.load.disk_free_bytes},
        "headgate_store_disk_bytes": lambda: {(): shutil.disk_usage(folder).total},
    }
    for name, function in read.items():
        meter.watch(name, function)
    for name, key in _COUNTS.items():
        meter.watch(name, partial(_count, store, key))


def _count(store: Store, key: str) -> Series:
    return {(): store.counters.get(key, 0)}


class _LiveFiles:
    """How many live files there are, and their bytes; the manifest is read every few seconds at most."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked_s = -MANIFEST_LOOK_S
        self._seen = (0, 0)

    def look(self) -> tuple[int, int]:
        """Files and bytes."""
        if time.monotonic() - self._looked_s >= MANIFEST_LOOK_S:
            self._looked_s = time.monotonic()
            files = read_manifest(self._folder).files
            self._seen = (len(files), sum(file.bytes for file in files))
        return self._seen


def _by_label(counts: Mapping[str, float]) -> Series:
    return {(label,): count for label, count in counts.items()}


def _below(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {key.removeprefix(prefix): count for key, count in counts.items() if key.startswith(prefix)}
