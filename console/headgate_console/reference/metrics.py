"""`metrics.md`: what Headgate measures of itself."""

from headgate_processors.telemetry.definition import (
    CONTROL,
    DERIVER,
    PARTS,
    RECEIVER,
    STORE,
    WORKERS,
    Metric,
    otel_name,
)

HEAD = """\
# Metrics

What Headgate measures of itself, as Prometheus text on `/metrics` of the console (`console.listen`), all parts
together, and on `/metrics` of the OTLP/HTTP listener, the receiver's own. The same is sent as OTLP, under
OpenTelemetry's names, when `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` is set in the
environment of `headgate up`; never to Headgate's own listeners. `OTEL_METRIC_EXPORT_INTERVAL` and the other standard
variables hold.

Of acknowledged requests, records received = stored + duplicate + rejected. Records of a request that was refused whole
are in none of them: its sender still has them, or its bytes are a dead letter.

A histogram shows `_bucket`, `_sum` and `_count`, in seconds.
"""
GROUPS = (
    ("Receiver", RECEIVER),
    ("Decode workers", WORKERS),
    ("Store", STORE),
    ("Deriver", DERIVER),
    ("Control", CONTROL),
    ("Parts", PARTS),
)
TABLE = """\
| metric | kind | labels | OpenTelemetry's name | what it is |
| --- | --- | --- | --- | --- |
"""
WATCH = """
## What to watch

| question | expression |
| --- | --- |
| Is anything refused? | `sum by (status) (rate(headgate_receiver_requests_total{status!="OK"}[5m]))` |
| Why? | `sum by (reason) (rate(headgate_receiver_records_rejected_total[5m]))` |
| Are the workers the bottleneck? | `rate(headgate_worker_busy_seconds_total[1m]) / headgate_worker_processes` |
| Does the disk keep up? | `headgate_store_seal_lag_seconds` stays below a few seal intervals |
| How long does an answer take? | `histogram_quantile(0.99, rate(headgate_receiver_request_seconds_bucket[5m]))` |
| How old is what people see? | `headgate_deriver_lag_seconds` |
| Are changed policies refused? | `headgate_control_policies_refused == 1`: `headgate control status` says why |
| Who asks control in vain? | `sum by (asked, status) (rate(headgate_control_refused_total[5m]))` |
| Does something end workers? | `increase(headgate_worker_restarts_total{cause!="recycled"}[1h])` |
"""


def metrics_page() -> str:
    """The page, in Markdown."""
    parts = [HEAD]
    for title, metrics in GROUPS:
        parts.append(f"\n## {title}\n\n{TABLE}")
        parts += [_row(name, metric) for name, metric in metrics.items()]
    return "".join([*parts, WATCH])


def _row(name: str, metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    return f"| `{name}` | {metric.type} | {labels} | `{otel_name(name)}` | {metric.doc} |\n"
