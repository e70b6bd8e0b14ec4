"""What Headgate measures of itself: one definition of every metric, counted here, told by the OpenTelemetry SDK."""

from headgate_processors.telemetry.definition import METRICS, Metric
from headgate_processors.telemetry.meter import Meter, Series

__all__ = ["METRICS", "Meter", "Metric", "Series"]
