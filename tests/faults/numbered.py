"""Requests whose every record has a name of its own, and how often a store has each of them."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from headgate_analytics import open_views
from headgate_processors.otlp.port import Signal
from headgate_processors.testing.otlp import logs_request, metrics_request, to_protobuf, traces_request

METHODS = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
RECORDS = 20
RESOURCE = {"service.name": "numbered"}
PROMPT = "What do you know of the weather in the town where the request was made, and who asked? "
QUERIES = (
    "SELECT name, count(*) FROM spans WHERE service_name = 'numbered' GROUP BY name",
    "SELECT attributes->>'item', count(*) FROM log_events WHERE service_name = 'numbered' GROUP BY 1",
    "SELECT attributes->>'item', count(*) FROM metric_points WHERE service_name = 'numbered' GROUP BY 1",
)


def signal_of(number: int) -> Signal:
    """Of ten requests seven are spans, two logs and one metrics."""
    return (Signal.TRACES, Signal.LOGS, Signal.METRICS)[(0, 0, 0, 0, 0, 0, 0, 1, 1, 2)[number % 10]]


def names(number: int) -> list[str]:
    """The names of the records of a request."""
    return [f"{number}-{position}" for position in range(RECORDS)]


def body(number: int) -> bytes:
    """The request, the same bytes for the same number."""
    match signal_of(number):
        case Signal.TRACES:
            request = traces_request([_span(number, place) for place in range(RECORDS)], resource=RESOURCE)
        case Signal.LOGS:
            request = logs_request([{"attributes": {"item": name}} for name in names(number)], resource=RESOURCE)
        case Signal.METRICS:
            points = [{"value": place, "attributes": {"item": name}} for place, name in enumerate(names(number))]
            request = metrics_request([{"name": "numbered", "points": points}], resource=RESOURCE)
    return to_protobuf(request)


def stored(folder: Path) -> Counter[str]:
    """How often the views have each name."""
    found: Counter[str] = Counter()
    with open_views(folder) as connection:
        for query in QUERIES:
            found.update(dict(connection.sql(query).fetchall()))
    return found


def missing(acknowledged: Iterable[int], found: Counter[str]) -> list[str]:
    """The names of acknowledged requests that the views do not have."""
    return [name for number in acknowledged for name in names(number) if not found[name]]


def doubled(found: Counter[str]) -> list[str]:
    """The names that the views have more than once."""
    return [name for name, count in found.items() if count > 1]


def _span(number: int, place: int) -> dict[str, object]:
    return {
        "trace_id": f"{number + 1:032x}",
        "span_id": f"{place + 1:016x}",
        "parent_span_id": f"{1:016x}" if place else "",
        "name": f"{number}-{place}",
        "attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5-mini",
            "gen_ai.input.messages": f'[{{"role":"user","parts":[{{"type":"text","content":"{PROMPT * 5}"}}]}}]',
            "gen_ai.usage.input_tokens": number % 1000,
        },
    }
