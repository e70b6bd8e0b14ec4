"""What every decoder must do with well-formed requests of all three signals."""

from typing import Any

import pytest

from headgate_processors.otlp.port import Decoded, Decoder, Encoding, Signal
from headgate_processors.testing.otlp import (
    START_UNIX_NANO,
    TRACE_ID,
    Request,
    joined,
    logs_request,
    metrics_request,
    to_json,
    to_protobuf,
    traces_request,
)
from headgate_processors.testing.otlp_rows import expected_rows, rows_of
from headgate_processors.testing.otlp_samples import sample_request

ENCODINGS: tuple[Encoding, ...] = ("protobuf", "json")
UINT64_MAX = (1 << 64) - 1
INT64_MAX = (1 << 63) - 1


def decoded(decoder: Decoder, request: Request, signal: Signal, encoding: Encoding = "protobuf") -> Decoded:
    """What a decoder makes of a request in that encoding."""
    body = to_json(request) if encoding == "json" else to_protobuf(request)
    return decoder(body, signal=signal, encoding=encoding)


def span_attributes(decoder: Decoder, encoding: Encoding, attributes: Any) -> str:
    """The JSON text that attributes become."""
    outcome = decoded(decoder, traces_request([{"attributes": attributes}]), Signal.TRACES, encoding)
    assert () == outcome.rejected
    text: str = outcome.batch.column("attributes")[0].as_py()
    return text


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("signal", Signal)
def test_every_field_reaches_its_column(decoder: Decoder, signal: Signal, encoding: Encoding) -> None:
    """A request that uses everything gives the rows that reading it the plain way gives."""
    request = sample_request(signal)
    outcome = decoded(decoder, request, signal, encoding)
    assert expected_rows(request) == rows_of(outcome)
    assert () == outcome.rejected
    assert signal is outcome.signal


def test_a_span_becomes_the_row_that_the_schema_documents(decoder: Decoder) -> None:
    """One span, written out, so that the reference reading is itself checked."""
    row = rows_of(decoded(decoder, sample_request(Signal.TRACES), Signal.TRACES))[0]
    assert {
        "trace_id": TRACE_ID,
        "span_id": "0000000000000001",
        "parent_span_id": "00f067aa0ba902b7",
        "trace_state": "vendor=1",
        "flags": 257,
        "name": "chat",
        "kind": "CLIENT",
        "start_time_unix_nano": START_UNIX_NANO,
        "end_time_unix_nano": START_UNIX_NANO + 1_000_000_000,
        "status_code": "ERROR",
        "status_message": "rate limited",
        "attributes": {"gen_ai.usage.input_tokens": 7, "gen_ai.request.temperature": 0.5, "on": True},
        "events": [
            {
                "name": "exception",
                "time_unix_nano": START_UNIX_NANO,
                "attributes": {"exception.type": "RateLimitError"},
            }
        ],
        "links": [
            {
                "trace_id": TRACE_ID,
                "span_id": "0000000000000001",
                "trace_state": "vendor=2",
                "attributes": {"why": "retry"},
            }
        ],
        "dropped_attributes_count": 3,
        "resource_attributes": {"service.name": "fixer", "process.pid": 12},
        "scope_name": "instrumentation",
        "scope_version": "1.2",
        "scope_attributes": {"short_name": "i"},
        "schema_url": "https://opentelemetry.io/schemas/1.38.0",
    } == row


@pytest.mark.parametrize(("encoding", "body"), [("protobuf", b""), ("json", b"{}"), ("json", b'{"resourceSpans":[]}')])
@pytest.mark.parametrize("signal", Signal)
def test_an_empty_request_has_no_rows(decoder: Decoder, signal: Signal, encoding: Encoding, body: bytes) -> None:
    """Nothing sent is nothing stored, and no error."""
    outcome = decoder(body, signal=signal, encoding=encoding)
    assert [] == rows_of(outcome)
    assert () == outcome.rejected


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", '"plain"'),
        ("", '""'),
        ("é—✓ 漢 😀", '"é—✓ 漢 😀"'),
        ('tab\t quote" slash\\ \x01', '"tab\\t quote\\" slash\\\\ \\u0001"'),
        ("x" * 5000, '"' + "x" * 5000 + '"'),
        (0, "0"),
        (-1, "-1"),
        (INT64_MAX, str(INT64_MAX)),
        (-INT64_MAX - 1, str(-INT64_MAX - 1)),
        (True, "true"),
        (False, "false"),
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (float("nan"), '"NaN"'),
        (float("inf"), '"Infinity"'),
        (float("-inf"), '"-Infinity"'),
        (b"", '""'),
        (b"\x00\xff\x10", '"AP8Q"'),
        (None, "null"),
        ([], "[]"),
        ({}, "{}"),
        ([1, 2.5, True, None, "a", b"\x00", float("nan")], '[1,2.5,true,null,"a","AA==","NaN"]'),
        ({"b": {"": 1}, "a": [[], {}]}, '{"b":{"":1},"a":[[],{}]}'),
    ],
)
def test_a_value_becomes_the_json_that_a_person_would_write(
    decoder: Decoder, encoding: Encoding, value: Any, text: str
) -> None:
    """Integers stay integers, bytes become base64, lists and objects nest, no number is lost as null."""
    assert f'{{"key":{text}}}' == span_attributes(decoder, encoding, {"key": value})


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_of_a_repeated_key_the_first_value_counts(decoder: Decoder, encoding: Encoding) -> None:
    """Order is kept, and whoever appends a key a second time cannot replace what was there."""
    pairs = [("b", 1), ("a", 2), ("b", 3), ("", 4), ("a", 5)]
    assert '{"b":1,"a":2,"":4}' == span_attributes(decoder, encoding, pairs)


def test_of_a_repeated_key_in_an_object_the_first_value_counts(decoder: Decoder) -> None:
    """The rule holds inside values too."""
    request = traces_request([{"attributes": {"o": {"k": 1}}}])
    members = request.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.kvlist_value.values
    members.add(key="k").value.int_value = 2
    assert {"o": {"k": 1}} == rows_of(decoded(decoder, request, Signal.TRACES))[0]["attributes"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_time_past_int64_becomes_the_largest(decoder: Decoder, encoding: Encoding) -> None:
    """The wire has unsigned 64 bits, the store signed ones; such a time is suspect, not lost."""
    late = {"start_time_unix_nano": UINT64_MAX, "end_time_unix_nano": UINT64_MAX}
    events = [{"time_unix_nano": UINT64_MAX}]
    request = traces_request([{"start_time_unix_nano": 1}, {**late, "events": events}])
    row = rows_of(decoded(decoder, request, Signal.TRACES, encoding))[1]
    times = (row["start_time_unix_nano"], row["end_time_unix_nano"], row["events"][0]["time_unix_nano"])
    assert (INT64_MAX, INT64_MAX, INT64_MAX) == times


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_unfinished_span_has_no_end(decoder: Decoder, encoding: Encoding) -> None:
    """Zero on the wire means unset, which is NULL."""
    request = traces_request([{"end_time_unix_nano": 0}])
    assert None is rows_of(decoded(decoder, request, Signal.TRACES, encoding))[0]["end_time_unix_nano"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({"time_unix_nano": 5, "observed_time_unix_nano": 7}, (5, 7)),
        ({"time_unix_nano": 0, "observed_time_unix_nano": 7}, (7, 7)),
        ({"time_unix_nano": 5, "observed_time_unix_nano": 0}, (5, None)),
        ({"time_unix_nano": 0, "observed_time_unix_nano": 0}, (0, None)),
    ],
)
def test_a_log_without_a_time_has_the_time_it_was_observed(
    decoder: Decoder, encoding: Encoding, fields: dict[str, int], times: tuple[int, int | None]
) -> None:
    """The specification's own fallback; zero when nobody knows."""
    row = rows_of(decoded(decoder, logs_request([fields]), Signal.LOGS, encoding))[0]
    assert times == (row["time_unix_nano"], row["observed_time_unix_nano"])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"event_name": "field", "attributes": {"event.name": "attribute"}}, "field"),
        ({"attributes": {"event.name": "attribute"}}, "attribute"),
        ({"attributes": {"event.name": ""}}, None),
        ({"attributes": {"event.name": 7}}, None),
        ({}, None),
    ],
)
def test_an_event_is_named_by_its_field_else_by_its_attribute(
    decoder: Decoder, encoding: Encoding, fields: dict[str, Any], name: str | None
) -> None:
    """Older SDKs have only the attribute."""
    assert name == rows_of(decoded(decoder, logs_request([fields]), Signal.LOGS, encoding))[0]["event_name"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("body", "text"),
    [("text", '"text"'), ("", '""'), (0, "0"), (False, "false"), ({"a": [1]}, '{"a":[1]}'), ([], "[]"), (None, None)],
)
def test_a_body_is_json_text(decoder: Decoder, encoding: Encoding, body: Any, text: str | None) -> None:
    """A body is any value, and one that is not set is NULL."""
    outcome = decoded(decoder, logs_request([{"body": body}]), Signal.LOGS, encoding)
    assert text == outcome.batch.column("body")[0].as_py()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("trace_id", "span_id"),
    [("", ""), ("00" * 16, "00" * 8), ("ab" * 8, "ab" * 16), ("ab" * 15 + "a0b0", "ab" * 7)],
)
def test_a_log_without_usable_ids_has_none(decoder: Decoder, encoding: Encoding, trace_id: str, span_id: str) -> None:
    """A log need not belong to a trace, so ids that are absent, zeros or misshapen cost only themselves."""
    request = logs_request([{"trace_id": trace_id, "span_id": span_id, "body": "kept"}])
    row = rows_of(decoded(decoder, request, Signal.LOGS, encoding))[0]
    assert ("kept", None, None) == (row["body"], row["trace_id"], row["span_id"])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("parent_span_id", ["", "00" * 8])
def test_a_span_without_a_parent_is_a_root(decoder: Decoder, encoding: Encoding, parent_span_id: str) -> None:
    """Some exporters write zeros for no parent."""
    request = traces_request([{"parent_span_id": parent_span_id}])
    assert None is rows_of(decoded(decoder, request, Signal.TRACES, encoding))[0]["parent_span_id"]


def two_resources() -> Request:
    """Three groups, the first and the last of one resource."""
    first = traces_request([{"name": "a"}, {"name": "b"}], resource={"service.name": "one"}, schema_url="u")
    second = traces_request([{"name": "c"}], resource={"service.name": "two"}, scope="s", scope_attributes={"k": 1})
    third = traces_request([{"name": "d"}], resource={"service.name": "one"})
    return joined(first, second, third)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_rows_keep_the_order_of_the_wire_and_their_own_origin(decoder: Decoder, encoding: Encoding) -> None:
    """Every row has the resource and scope that it was sent under."""
    request = two_resources()
    outcome = decoded(decoder, request, Signal.TRACES, encoding)
    assert ["a", "b", "c", "d"] == outcome.batch.column("name").to_pylist()
    assert expected_rows(request) == rows_of(outcome)


def test_each_distinct_resource_is_written_once(decoder: Decoder) -> None:
    """What identity and policy look up is one dictionary value for each resource, however many rows."""
    dictionary = decoded(decoder, two_resources(), Signal.TRACES).batch.column("resource_attributes").dictionary
    assert ['{"service.name":"one"}', '{"service.name":"two"}'] == dictionary.to_pylist()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_schema_url_is_the_scopes_else_the_resources(decoder: Decoder, encoding: Encoding) -> None:
    """The nearer one counts."""
    request = joined(traces_request([{}], schema_url="scope"), traces_request([{}]), traces_request([{}]))
    request.resource_spans[0].schema_url = request.resource_spans[1].schema_url = "resource"
    outcome = decoded(decoder, request, Signal.TRACES, encoding)
    assert ["scope", "resource", None] == outcome.batch.column("schema_url").to_pylist()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_enum_values_of_a_later_protocol_are_kept_as_unknown(decoder: Decoder, encoding: Encoding) -> None:
    """A kind or status that this version does not know costs the word, not the span."""
    request = traces_request([{"kind": 99, "status_code": 99}])
    row = rows_of(decoded(decoder, request, Signal.TRACES, encoding))[0]
    assert ("UNSPECIFIED", "UNSET") == (row["kind"], row["status_code"])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_metric_without_points_or_data_has_no_rows(decoder: Decoder, encoding: Encoding) -> None:
    """A row is a point."""
    request = metrics_request([{"name": "empty"}, {"name": "one", "points": [{"value": 1}]}])
    request.resource_metrics[0].scope_metrics[0].metrics.add(name="no data")
    assert ["one"] == [row["name"] for row in rows_of(decoded(decoder, request, Signal.METRICS, encoding))]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_not_a_number_survives_in_points(decoder: Decoder, encoding: Encoding) -> None:
    """A double column holds NaN and infinities; in JSON they are words."""
    infinite = {"type": "histogram", "points": [{"bucket_counts": [1, 2], "explicit_bounds": [float("inf")]}]}
    request = metrics_request([{"points": [{"value": float("-inf")}]}, infinite])
    rows = rows_of(decoded(decoder, request, Signal.METRICS, encoding))
    assert (float("-inf"), ["Infinity"]) == (rows[0]["value"], rows[1]["buckets"]["bounds"])


def test_what_a_metric_says_of_itself_is_written_once(decoder: Decoder) -> None:
    """A long description costs its length once, not once for each point."""
    description = "long " * 20_000
    request = metrics_request([{"description": description, "points": [{"value": n} for n in range(2_000)]}])
    column = decoded(decoder, request, Signal.METRICS).batch.column("description")
    assert [description] == column.dictionary.to_pylist()


@pytest.mark.parametrize("signal", Signal)
def test_decoding_is_a_pure_function(decoder: Decoder, signal: Signal) -> None:
    """The same bytes give the same batch, however often."""
    body = to_protobuf(sample_request(signal))
    first, second = decoder(body, signal=signal), decoder(body, signal=signal)
    assert first.batch.equals(second.batch)
