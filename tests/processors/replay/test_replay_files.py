"""What a replay reads: every form of recorded OTLP, and what it says of the rest."""

import gzip
import json
import random
import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from headgate_processors.errors import ConfigError
from headgate_processors.otlp.port import Signal
from headgate_processors.replay.files import read_requests, replay_files
from headgate_processors.replay.requests import ReplayRefusal, ReplayRequest
from headgate_processors.testing.ingest import numbered_request
from headgate_processors.testing.otlp import logs_request, to_json, to_protobuf, traces_request

TRACES = to_json(numbered_request(Signal.TRACES, [1]))
LOGS = to_json(numbered_request(Signal.LOGS, [1]))
METRICS = to_json(numbered_request(Signal.METRICS, [1]))


def written(folder: Path, name: str, content: bytes) -> Path:
    """A file in a folder that may not exist yet."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read(*paths: Path) -> tuple[list[ReplayRequest], list[ReplayRefusal]]:
    """What is read, and what is refused."""
    items = list(read_requests(paths))
    return (
        [item for item in items if isinstance(item, ReplayRequest)],
        [item for item in items if isinstance(item, ReplayRefusal)],
    )


def four_byte(messages: list[bytes]) -> bytes:
    """Messages as the Collector's file exporter writes them."""
    return b"".join(struct.pack(">I", len(message)) + message for message in messages)


def varint(messages: list[bytes]) -> bytes:
    """Messages in protobuf's own delimited format."""
    out = bytearray()
    for message in messages:
        size = len(message)
        while size >= 0x80:
            out.append(size & 0x7F | 0x80)
            size >>= 7
        out.append(size)
        out += message
    return bytes(out)


@pytest.mark.parametrize(
    ("line", "signal"),
    [
        (TRACES, Signal.TRACES),
        (LOGS, Signal.LOGS),
        (METRICS, Signal.METRICS),
        (b'{"seq":1,"signal":"logs","path":"/x","headers":{},"request":' + LOGS + b"}", Signal.LOGS),
        (b'{"path":"/v1/traces","body":' + TRACES + b"}", Signal.TRACES),
        (b'{"path":"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export","request":{}}', Signal.METRICS),
        (b'{"signal":"traces","request":{}}', Signal.TRACES),
        (b'{"path":"/v1/logs"}', Signal.LOGS),
        (b'{"signal":"traces","request":' + LOGS + b"}", Signal.LOGS),
        (b'{"resource_spans":[]}', Signal.TRACES),
    ],
)
def test_the_signal_of_a_line_is_found(tmp_path, line, signal) -> None:
    """A request is bare or wrapped; its own keys tell its signal, else `signal`, else `path`."""
    (request,), refused = read(written(tmp_path, "a.jsonl", line + b"\n"))
    assert ([], signal, 1, "json") == (refused, request.signal, request.line, request.encoding)


def test_a_wrapped_request_is_unwrapped_and_a_bare_one_is_left_as_it_is(tmp_path) -> None:
    """What goes on is the export request alone, with its numbers as they were written."""
    text = b'{"resourceLogs": [ {"scopeLogs": [{"logRecords": [{"timeUnixNano": "1794000000000000001"}]}]} ]}'
    lines = text + b"\n" + b'{"request":' + text + b"}\n"
    (bare, wrapped), _ = read(written(tmp_path, "a.jsonl", lines))
    assert text == bare.body
    assert json.loads(text) == json.loads(wrapped.body)


def test_a_line_with_two_signals_is_two_requests(tmp_path) -> None:
    """Nothing is left out when a recorder put several signals into one line."""
    line = json.dumps({**json.loads(TRACES), **json.loads(LOGS)}).encode()
    requests, _ = read(written(tmp_path, "a.jsonl", line))
    assert [(Signal.TRACES, 1), (Signal.LOGS, 1)] == [(request.signal, request.line) for request in requests]


def test_bad_lines_are_refused_with_their_place_and_stop_nothing(tmp_path) -> None:
    """Each bad line is reported with file, line and reason; empty lines are passed over."""
    lines = [b"{no json", TRACES, b"[1, 2]", b"", b'{"hello": 1}', b'{"signal": "profiles", "request": {}}', LOGS]
    path = written(tmp_path, "a.jsonl", b"\n".join(lines))
    requests, refused = read(path)
    assert [2, 7] == [request.line for request in requests]
    assert [1, 3, 5, 6] == [refusal.line for refusal in refused]
    assert str(refused[0]).startswith(f"{path}:1: not JSON")
    assert "a JSON list, expected an object" in refused[1].reason
    assert "no export request: none of resourceSpans, resourceLogs, resourceMetrics" in refused[2].reason


def test_a_document_that_is_spread_over_lines_is_one_request(tmp_path) -> None:
    """A `.json` file that a person wrote is read as a whole."""
    text = json.dumps(json.loads(TRACES), indent=2).encode()
    (request,), refused = read(written(tmp_path, "a.json", text))
    assert ([], Signal.TRACES, json.loads(TRACES)) == (refused, request.signal, json.loads(request.body))


def test_a_json_file_with_a_bad_first_line_still_gives_the_others(tmp_path) -> None:
    """The file exporter writes lines into `.json` files, and a rotated one may begin in the middle."""
    path = written(tmp_path, "traces.json", b"{half a line\n" + TRACES + b"\n" + TRACES + b"\n")
    requests, refused = read(path)
    assert ([2, 3], [1]) == ([request.line for request in requests], [refusal.line for refusal in refused])


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_compression_is_told_by_the_bytes(tmp_path, compress, name) -> None:
    """A file is decompressed by what it is, whatever its name says."""
    requests, refused = read(written(tmp_path, name, compress(TRACES + b"\n" + LOGS + b"\n")))
    assert ([], [Signal.TRACES, Signal.LOGS]) == (refused, [request.signal for request in requests])


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_compressed_file_that_ends_too_early_gives_what_it_holds(tmp_path, compress) -> None:
    """A recorder that was killed leaves half a file: what can be read is, and the end is reported."""
    chance = random.Random(1)
    lines = b"".join(to_json(logs_request([{"body": chance.randbytes(200).hex()}])) + b"\n" for _ in range(3000))
    whole = compress(lines)
    requests, refused = read(written(tmp_path, "a.jsonl.gz", whole[: len(whole) * 2 // 3]))
    assert 1000 < len(requests) < 3000
    assert 1 == len(refused)
    assert refused[0].line == len(requests) + 1


@pytest.mark.parametrize("framed", [four_byte, varint])
@pytest.mark.parametrize("name", ["a.pb", "a.bin", "a.otlp", "traces.proto", "recorded.whatever"])
def test_length_delimited_protobuf_is_read(tmp_path, framed, name) -> None:
    """Both kinds of lengths, each message with its own signal."""
    bodies = [to_protobuf(numbered_request(signal, range(40))) for signal in Signal]
    requests, refused = read(written(tmp_path, name, framed([*bodies, *bodies])))
    assert [] == refused
    assert [(number, signal) for number, signal in enumerate([*Signal, *Signal], start=1)] == [
        (request.line, request.signal) for request in requests
    ]
    assert [*bodies, *bodies] == [request.body for request in requests]


@pytest.mark.parametrize("signal", list(Signal))
def test_bare_protobuf_is_read(tmp_path, signal) -> None:
    """A file that is one request needs no lengths; its signal is told by what it holds."""
    body = to_protobuf(numbered_request(signal, range(40)))
    requests, refused = read(written(tmp_path, "a.pb", body))
    assert ([], [(signal, body, "protobuf")]) == (
        refused,
        [(request.signal, request.body, request.encoding) for request in requests],
    )


@pytest.mark.parametrize("inner", [bytes, zstandard.compress])
def test_the_file_exporter_with_compression_writes_json_behind_lengths(tmp_path, inner) -> None:
    """What the Collector's file exporter writes with `compression: zstd`, in either format."""
    messages = [TRACES, to_protobuf(numbered_request(Signal.LOGS, [2]))]
    path = written(tmp_path, "out.otlp", four_byte([inner(message) for message in messages]))
    requests, refused = read(path)
    assert ([], [(Signal.TRACES, "json"), (Signal.LOGS, "protobuf")]) == (
        refused,
        [(request.signal, request.encoding) for request in requests],
    )


def test_a_file_that_ends_within_a_message_gives_the_messages_before(tmp_path) -> None:
    """A recorder that was killed leaves half a message: it is refused, the others are read."""
    body = to_protobuf(numbered_request(Signal.TRACES, range(10)))
    requests, refused = read(written(tmp_path, "a.pb", four_byte([body, body, body])[:-7]))
    assert 2 == len(requests)
    assert [(3, f"the file ends within a message: {len(body) - 7} of {len(body)} bytes")] == [
        (refusal.line, refusal.reason) for refusal in refused
    ]


def test_a_bad_message_between_good_ones_is_refused_alone(tmp_path) -> None:
    """With lengths before them the messages after a bad one are found."""
    body = to_protobuf(numbered_request(Signal.TRACES, [1]))
    bad = [b"\x0a\x05nope!", b"\x28\xb5\x2f\xfdbroken"]
    requests, refused = read(written(tmp_path, "a.pb", four_byte([body, *bad, body])))
    assert ([1, 4], [2, 3]) == ([request.line for request in requests], [refusal.line for refusal in refused])


def test_a_span_that_is_not_utf8_goes_on_when_the_name_tells_the_signal(tmp_path) -> None:
    """Whether one bad span costs the request is for the decoder to say, not for the reader."""
    body = to_protobuf(traces_request([{"name": "good"}, {"name": "XXXX"}])).replace(b"XXXX", b"\xff\xfe\xff\xfe")
    (request,), refused = read(written(tmp_path, "traces.pb", body))
    assert ([], Signal.TRACES, body) == (refused, request.signal, request.body)


def test_a_folder_is_walked_in_order_and_what_is_no_recording_is_passed_over(tmp_path) -> None:
    """Files by name, folders after them; a recording's own notes are not recordings."""
    for name in ("b.jsonl", "a.jsonl.gz", "z/one.pb", "c/two.ndjson", "c/x.json"):
        written(tmp_path, name, b"")
    for name in ("expected.json", "truth.json", "versions.txt", "README.md", "c/notes.txt", ".git/a.jsonl", ".b.jsonl"):
        written(tmp_path, name, b"not a recording")
    assert ["a.jsonl.gz", "b.jsonl", "c/two.ndjson", "c/x.json", "z/one.pb"] == [
        path.relative_to(tmp_path).as_posix() for path in replay_files([tmp_path])
    ]
    assert ([], []) == read(tmp_path)


def test_paths_are_read_in_the_order_given(tmp_path) -> None:
    """Files and folders may be mixed."""
    first, second = written(tmp_path, "b/1.jsonl", TRACES), written(tmp_path, "a.jsonl", LOGS)
    requests, _ = read(tmp_path / "b", second)
    assert [first, second] == [request.path for request in requests]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.pb", "a.jsonl.gz"])
def test_an_empty_file_holds_nothing(tmp_path, name) -> None:
    """A set-up that sent nothing leaves an empty file: no request, no refusal."""
    assert ([], []) == read(written(tmp_path, name, b""), written(tmp_path, f"compressed-{name}", gzip.compress(b"")))


def test_a_missing_path_is_a_configuration_error(tmp_path) -> None:
    """It is told before anything is read."""
    with pytest.raises(ConfigError, match="gone does not exist: expected a file or folder"):
        read_requests([written(tmp_path, "a.jsonl", TRACES), tmp_path / "gone"]).__next__()


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(tmp_path_factory, content) -> None:
    """Whatever a file holds, reading it gives requests and refusals and never raises."""
    folder = tmp_path_factory.mktemp("any")
    for name in ("a.jsonl", "a.json", "a.pb", "a.any"):
        requests, refused = read(written(folder, name, content))
        assert all(isinstance(item.body, bytes) for item in requests)
        assert all(item.reason for item in refused)
