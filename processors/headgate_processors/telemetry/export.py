"""Who is sent Headgate's own metrics as OTLP: nobody, unless the standard variables name somebody else."""

import logging
import os
from collections.abc import Collection
from urllib.parse import urlsplit

from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

_LOG = logging.getLogger(__name__)
_ENDPOINT = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOL = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PORTS = {"http": 80, "https": 443}
_LOOPBACK = {"localhost": "127.0.0.1", "::1": "127.0.0.1"}


def exporting_readers(own: Collection[str]) -> list[MetricReader]:
    """A reader that sends everything to the endpoint of the environment; none without one.

    Headgate does not send to `own`, the addresses that it listens on: whoever points agents at it with the same
    variables would else have it tell itself about what it tells itself.
    """
    endpoint = _first(_ENDPOINT)
    if not endpoint:
        return []
    if address_of(endpoint) in {_normal(address) for address in own}:
        _LOG.info("%s is Headgate itself: its own metrics are not sent there", endpoint)
        return []
    if _first(_PROTOCOL) == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Exporter  # noqa: PLC0415
    else:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # type: ignore[assignment]  # noqa: PLC0415
            OTLPMetricExporter as Exporter,
        )
    return [PeriodicExportingMetricReader(Exporter())]


def address_of(endpoint: str) -> str:
    """`host:port` of a URL, or of what gRPC takes for one."""
    parts = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    return _normal(f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme, 4317)}")


def _normal(address: str) -> str:
    host, _, port = address.rpartition(":")
    host = host.strip("[]").lower()
    return f"{_LOOPBACK.get(host, host)}:{port}"


def _first(names: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
