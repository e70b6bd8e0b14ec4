"""What a running Collector says of itself on its metrics page."""

import http.client
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from headgate_processors.errors import TransientError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = "8888"
TIMEOUT_S = 3.0
BYTES_MAX = 16 << 20
SIGNALS = {"spans": "traces", "log_records": "logs", "metric_points": "metrics"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalMetrics:
    """One signal since the Collector started: records, and bytes in the sending queue; None where it tells nothing.

    `refused`: by the memory limiter or a full queue, and senders were told to come again. `dropped`: the next
    hop refused them for good. `not_queued`: no place in the queue.
    """

    signal: str
    accepted: int
    refused: int
    sent: int
    dropped: int
    not_queued: int
    queue_bytes: int | None
    queue_bytes_max: int | None

    @property
    def queue_share(self) -> float:
        """How full the queue is, 0 to 1."""
        return (self.queue_bytes or 0) / self.queue_bytes_max if self.queue_bytes_max else 0.0


def address(environment: Mapping[str, str]) -> str:
    """Where the Collector of this environment shows its metrics, HOST:PORT."""
    host = environment.get("HEADGATE_COLLECTOR_METRICS_LISTEN") or DEFAULT_HOST
    return f"{host}:{environment.get('HEADGATE_COLLECTOR_METRICS_PORT') or DEFAULT_PORT}"


def read_metrics(address: str) -> tuple[SignalMetrics, ...] | None:
    """The figures of the Collector at `address`, one for each signal; None when nobody listens there.

    Raises:
        TransientError: whoever listens there gives no metrics of a Collector.
    """
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=TIMEOUT_S) as answer:
            page = answer.read(BYTES_MAX).decode("utf-8", "replace")
        figures = tuple(_signals(_sums(page)))
    except urllib.error.HTTPError as error:
        raise TransientError(f"{address} answers {error.code} for /metrics.") from error
    except urllib.error.URLError:
        return None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise TransientError(f"{address} gives no metrics: {error}") from error
    if not figures:
        raise TransientError(f"{address} gives metrics, but not those of a Collector.")
    return figures


def _sums(page: str) -> Counter[tuple[str, str]]:
    """Values by name and signal, those of several components added; a counter's `_total` is left out of its name."""
    sums: Counter[tuple[str, str]] = Counter()
    families: Iterable[Any] = text_string_to_metric_families(page)
    for family in families:
        for sample in family.samples:
            sums[sample.name.removesuffix("_total"), sample.labels.get("data_type", "")] += sample.value
    return sums


def _signals(sums: Counter[tuple[str, str]]) -> Iterator[SignalMetrics]:
    for records, signal in SIGNALS.items():
        accepted = ("otelcol_receiver_accepted_" + records, "")
        size, room = ("otelcol_exporter_queue_size", signal), ("otelcol_exporter_queue_capacity", signal)
        if accepted in sums or room in sums:
            yield SignalMetrics(
                signal=signal,
                accepted=int(sums[accepted]),
                refused=int(sums["otelcol_receiver_refused_" + records, ""]),
                sent=_of_signal(sums, "otelcol_exporter_sent_" + records),
                dropped=_of_signal(sums, "otelcol_exporter_send_failed_" + records),
                not_queued=_of_signal(sums, "otelcol_exporter_enqueue_failed_" + records),
                queue_bytes=int(sums[size]) if size in sums else None,
                queue_bytes_max=int(sums[room]) if room in sums else None,
            )


def _of_signal(sums: Counter[tuple[str, str]], name: str) -> int:
    return int(sum(value for (found, _), value in sums.items() if found == name))
