"""Properties of every decoder over generated requests: the rows are those of a plain reading, in both encodings."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_processors.otlp.port import Decoder, Signal
from headgate_processors.testing.otlp import (
    Request,
    joined,
    logs_request,
    metrics_request,
    to_json,
    to_protobuf,
    traces_request,
)
from headgate_processors.testing.otlp_rows import expected_rows, rows_of

UINT32 = st.integers(0, 2**32 - 1)
UINT64 = st.integers(0, 2**64 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
DOUBLE = st.floats(allow_nan=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEY = st.sampled_from(["event.name", "service.name", "gen_ai.system", "", "k"]) | TEXT
VALUE = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats() | TEXT | st.binary(max_size=8) | st.text("x", min_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3),
    max_leaves=6,
)
ATTRIBUTES = st.lists(st.tuples(KEY, VALUE), max_size=5)


def ids(size: int) -> st.SearchStrategy[str]:
    """Ids of that many bytes, zeros and other sizes among them."""
    good = st.binary(min_size=size, max_size=size)
    return (good | good | st.sampled_from([b"", bytes(size), b"\x01"])).map(bytes.hex)


def fields(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A dict of some of these fields."""
    return st.fixed_dictionaries({}, optional=strategies)


EVENTS = st.lists(fields(name=TEXT, time_unix_nano=UINT64, attributes=ATTRIBUTES), max_size=2)
LINKS = st.lists(fields(trace_id=ids(16), span_id=ids(8), trace_state=TEXT, attributes=ATTRIBUTES), max_size=2)
SPAN = fields(
    trace_id=ids(16),
    span_id=ids(8),
    parent_span_id=ids(8),
    trace_state=TEXT,
    flags=UINT32,
    name=TEXT,
    kind=st.integers(0, 7),
    start_time_unix_nano=UINT64,
    end_time_unix_nano=UINT64,
    status_code=st.integers(0, 4),
    status_message=TEXT,
    attributes=ATTRIBUTES,
    events=EVENTS,
    links=LINKS,
    dropped_attributes_count=UINT32,
)
LOG = fields(
    time_unix_nano=UINT64,
    observed_time_unix_nano=UINT64,
    severity_number=INT32,
    severity_text=TEXT,
    event_name=TEXT,
    body=VALUE,
    trace_id=ids(16),
    span_id=ids(8),
    flags=UINT32,
    attributes=ATTRIBUTES,
    dropped_attributes_count=UINT32,
)
EXEMPLARS = st.lists(
    fields(time_unix_nano=UINT64, value=INT64 | st.floats(), trace_id=ids(16), span_id=ids(8), attributes=ATTRIBUTES),
    max_size=2,
)
BUCKETS = fields(offset=INT32, bucket_counts=st.lists(UINT64, max_size=3))
POINT = fields(
    start_time_unix_nano=UINT64,
    time_unix_nano=UINT64,
    attributes=ATTRIBUTES,
    flags=UINT32,
    value=INT64 | DOUBLE,
    count=UINT64,
    sum=DOUBLE,
    min=DOUBLE,
    max=DOUBLE,
    bucket_counts=st.lists(UINT64, max_size=3),
    explicit_bounds=st.lists(st.floats(), max_size=3),
    exemplars=EXEMPLARS,
    scale=INT32,
    zero_count=UINT64,
    zero_threshold=st.floats(),
    positive=BUCKETS,
    negative=BUCKETS,
    quantiles=st.lists(st.tuples(DOUBLE, st.floats()), max_size=2),
)
LEVELS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}
METRIC_TYPES = ["gauge", "sum", "histogram", "exponential_histogram", "summary"]
METRIC = fields(
    name=TEXT,
    description=TEXT,
    unit=TEXT,
    type=st.sampled_from(METRIC_TYPES),
    points=st.lists(POINT, max_size=3),
)
TOTAL = st.fixed_dictionaries(
    {
        "type": st.sampled_from(METRIC_TYPES[1:4]),
        "aggregation_temporality": st.sampled_from(["unspecified", "delta", "cumulative"]),
        "points": st.lists(POINT, max_size=2),
    }
)
ORIGIN = fields(resource=ATTRIBUTES, scope=TEXT, scope_version=TEXT, scope_attributes=ATTRIBUTES, schema_url=TEXT)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Signal, Request]:
    """A request of any signal, with up to three resources that may be equal."""
    signal = draw(st.sampled_from(Signal))
    build, record = {
        Signal.TRACES: (traces_request, SPAN),
        Signal.LOGS: (logs_request, LOG),
        Signal.METRICS: (metrics_request, METRIC | TOTAL),
    }[signal]
    origins = draw(st.lists(ORIGIN, min_size=1, max_size=3))
    groups: list[Any] = [build(draw(st.lists(record, max_size=3)), **origin) for origin in origins]
    return signal, joined(*groups)


@given(case=requests())
@settings(max_examples=60)
def test_rows_are_those_of_a_plain_reading(decoder: Decoder, case: tuple[Signal, Request]) -> None:
    """Each record that can be kept is the row that the schema describes, each other one a refusal."""
    signal, request = case
    outcome = decoder(to_protobuf(request), signal=signal)
    assert expected_rows(request) == rows_of(outcome)
    assert record_count(signal, request) == outcome.batch.num_rows + len(outcome.rejected)


@given(case=requests())
@settings(max_examples=60)
def test_both_encodings_give_the_same(decoder: Decoder, case: tuple[Signal, Request]) -> None:
    """A request is the same request as JSON: the same batch, the same refusals."""
    signal, request = case
    binary = decoder(to_protobuf(request), signal=signal)
    text = decoder(to_json(request), signal=signal, encoding="json")
    assert rows_of(binary) == rows_of(text)
    assert [one.reason for one in binary.rejected] == [one.reason for one in text.rejected]


def record_count(signal: Signal, request: Any) -> int:
    """Spans, log records or data points of a request."""
    groups, scopes, records = LEVELS[signal]
    found = [
        record
        for group in getattr(request, groups)
        for scope in getattr(group, scopes)
        for record in getattr(scope, records)
    ]
    if signal is not Signal.METRICS:
        return len(found)
    return sum(len(getattr(metric, metric.WhichOneof("data")).data_points) for metric in found)
