"""Every metric of Headgate's own, defined once: the code that counts, the reference page and its test read this."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
SECONDS_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric: its kind, a line of doc, the labels that tell its series apart, and its unit in UCUM.

    Its name is the one that Prometheus shows; OpenTelemetry's follows from it. A histogram counts seconds.
    """

    type: Kind
    doc: str
    labels: tuple[str, ...] = ()
    unit: str = "1"


def otel_name(name: str) -> str:
    """OpenTelemetry's name of a metric: `headgate_store_commits_total` is `headgate.store.commits`."""
    house, part, rest = name.removesuffix("_total").split("_", 2)
    return f"{house}.{part}.{rest}"


def _counter(doc: str, *labels: str, unit: str = "1") -> Metric:
    return Metric(type="counter", doc=doc, labels=labels, unit=unit)


def _gauge(doc: str, *labels: str, unit: str = "1") -> Metric:
    return Metric(type="gauge", doc=doc, labels=labels, unit=unit)


def _histogram(doc: str, *labels: str) -> Metric:
    return Metric(type="histogram", doc=doc, labels=labels, unit="s")


RECEIVER: Mapping[str, Metric] = {
    "headgate_receiver_requests_total": _counter(
        "Export requests by answer; the status is gRPC's word on both protocols.", "protocol", "signal", "status"
    ),
    "headgate_receiver_request_bytes_total": _counter(
        "Bytes of export requests, decompressed.", "protocol", "signal", unit="By"
    ),
    "headgate_receiver_request_seconds": _histogram(
        "From a request's last byte to its answer, the wait for a turn and the disk included.", "protocol", "signal"
    ),
    "headgate_receiver_records_received_total": _counter(
        "Records in acknowledged requests: those stored, duplicate and rejected.", "signal"
    ),
    "headgate_receiver_records_stored_total": _counter("Records made durable.", "signal"),
    "headgate_receiver_records_duplicate_total": _counter("Records that were already stored.", "signal"),
    "headgate_receiver_records_rejected_total": _counter(
        "Records refused in requests that were otherwise kept, by reason.", "signal", "reason"
    ),
    "headgate_receiver_forged_total": _counter(
        "Values of records (a resource, attributes, an event) that lost `headgate.*` which their sender may not say.",
        "signal",
    ),
    "headgate_receiver_dead_letters_total": _counter(
        "Refused records and requests by reason, and whether their bytes were kept.", "signal", "reason", "outcome"
    ),
    "headgate_receiver_faults_total": _counter(
        "Unexpected exceptions by type; the log has a traceback of each.", "type"
    ),
    "headgate_receiver_in_flight": _gauge("Requests being received, waiting or worked on.", "protocol"),
    "headgate_receiver_queue_requests": _gauge("Requests that wait for a decode worker."),
    "headgate_receiver_queue_bytes": _gauge("Bytes of requests that wait for a decode worker.", unit="By"),
    "headgate_receiver_connections": _gauge("Open HTTP connections."),
    "headgate_receiver_connections_refused_total": _counter("HTTP connections refused because too many were open."),
    "headgate_receiver_connections_evicted_total": _counter(
        "HTTP connections that were idle and gave way to others because too many were open."
    ),
    "headgate_receiver_tls_failures_total": _counter("HTTP connections that ended in their TLS handshake."),
    "headgate_receiver_stalled_total": _counter("Requests ended because their sender had stopped sending.", "protocol"),
}

WORKERS: Mapping[str, Metric] = {
    "headgate_worker_processes": _gauge("Decode workers that run."),
    "headgate_worker_busy": _gauge("Decode workers that have a group of requests at this moment."),
    "headgate_worker_busy_seconds_total": _counter(
        "Time that all decode workers had requests; its rate over the number of workers is how busy they are.",
        unit="s",
    ),
    "headgate_worker_cpu_seconds_total": _counter("CPU time that decode workers spent on requests.", unit="s"),
    "headgate_worker_memory_bytes": _gauge("Memory of all decode workers after their last group.", unit="By"),
    "headgate_worker_restarts_total": _counter(
        "Decode workers replaced: died, hung, starved of CPU, killed from outside, recycled for memory, unstarted.",
        "cause",
    ),
    "headgate_worker_poisoned_total": _counter("Requests refused for good because reading them ends a worker."),
}

STORE: Mapping[str, Metric] = {
    "headgate_store_queue_requests": _gauge("Groups of rows that wait to be committed."),
    "headgate_store_queue_bytes": _gauge("Bytes of rows that wait to be committed.", unit="By"),
    "headgate_store_commit_seconds": _histogram("From rows handed to the store to their being durable."),
    "headgate_store_commits_total": _counter("Commits, each with one sync of the disk."),
    "headgate_store_commit_failures_total": _counter("Commits that failed; their senders were told to send again."),
    "headgate_store_overloads_total": _counter("Groups of rows refused because a bound was reached."),
    "headgate_store_disk_refusals_total": _counter("Of these, those for which the disk was too full."),
    "headgate_store_rows_appended_total": _counter("Rows made durable, by table.", "dataset"),
    "headgate_store_rows_duplicate_total": _counter("Rows left out because they were known, by table.", "dataset"),
    "headgate_store_rows_forgotten_total": _counter(
        "Rows left out because their user or session is forgotten, by table.", "dataset"
    ),
    "headgate_store_unsealed_bytes": _gauge("Bytes of rows in segments, not in Parquet yet.", unit="By"),
    "headgate_store_seal_lag_seconds": _gauge("Age of the oldest row that is not in Parquet yet.", unit="s"),
    "headgate_store_seals_total": _counter("Segments that became Parquet."),
    "headgate_store_seal_failures_total": _counter("Attempts to seal that failed; the rows stay in their segment."),
    "headgate_store_compactions_total": _counter("Runs of the compactor."),
    "headgate_store_compact_failures_total": _counter("Runs of the compactor that failed."),
    "headgate_store_damaged_files_total": _counter("Parquet files that were found damaged and set aside."),
    "headgate_store_files": _gauge("Parquet files that are live."),
    "headgate_store_bytes": _gauge("Bytes of the Parquet files that are live.", unit="By"),
    "headgate_store_disk_free_bytes": _gauge("Bytes free on the disk of the store.", unit="By"),
    "headgate_store_disk_bytes": _gauge("Size of the disk of the store.", unit="By"),
}

DERIVER: Mapping[str, Metric] = {
    "headgate_deriver_runs_total": _counter("Times that sessions, calls and timelines were brought up to date."),
    "headgate_deriver_failures_total": _counter("Runs of the deriver that failed and were tried again."),
    "headgate_deriver_run_seconds": _histogram("How long a run of the deriver took."),
    "headgate_deriver_lag_seconds": _gauge(
        "How long sealed rows had waited when the last run that showed them ended.", unit="s"
    ),
    "headgate_deriver_revision": _gauge("Revision of the derived tables."),
}

PARTS: Mapping[str, Metric] = {
    "headgate_part_ready": _gauge("Whether a part takes work.", "part"),
    "headgate_part_restarts_total": _counter("Times that a part ended by itself and was started again.", "part"),
    "headgate_part_cpu_seconds_total": _counter(
        "CPU time of a part's process and of the workers that it started and that ended, since it started.",
        "part",
        unit="s",
    ),
    "headgate_part_memory_bytes": _gauge("Memory of a part's process.", "part", unit="By"),
}

CONTROL: Mapping[str, Metric] = {
    "headgate_control_refused_total": _counter(
        "Requests to control that were refused for who asked: 401 for nobody that it knows, 403 for others than these.",
        "asked",
        "status",
    ),
    "headgate_control_policies_refused": _gauge(
        "Whether the policies in their folder are refused, and older ones stay."
    ),
}

METRICS: Mapping[str, Metric] = {**RECEIVER, **WORKERS, **STORE, **DERIVER, **CONTROL, **PARTS}
