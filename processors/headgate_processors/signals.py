"""The three OTLP signals, apart from what decodes them: what only asks about rows loads no decoder."""

from enum import StrEnum


class Signal(StrEnum):
    """The three OTLP signals."""

    TRACES = "traces"
    LOGS = "logs"
    METRICS = "metrics"
