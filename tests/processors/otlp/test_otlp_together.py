"""Requests decoded together: each comes out as it does alone."""

from collections.abc import Sequence

import pytest

from headgate_processors.errors import PermanentError
from headgate_processors.otlp import decode, decode_together, limits
from headgate_processors.otlp.port import Decoded, Encoding, Signal
from headgate_processors.testing.otlp import to_json, to_protobuf, traces_request
from headgate_processors.testing.otlp_samples import sample_request


def _alone(bodies: Sequence[bytes], signal: Signal, encoding: Encoding) -> list[object]:
    found: list[object] = []
    for body in bodies:
        try:
            found.append(_shown(decode(body, signal=signal, encoding=encoding)))
        except PermanentError as error:
            found.append(str(error))
    return found


def _together(bodies: Sequence[bytes], signal: Signal, encoding: Encoding) -> list[object]:
    found = decode_together(bodies, signal=signal, encoding=encoding)
    return [str(one) if isinstance(one, PermanentError) else _shown(one) for one in found]


def _shown(decoded: Decoded) -> object:
    decoded.batch.validate(full=True)
    return decoded.signal, decoded.batch.schema, decoded.batch.to_pylist(), decoded.rejected


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("signal", Signal)
def test_requests_decoded_together_are_what_each_is_alone(signal: Signal, encoding: Encoding) -> None:
    """Rows, order and origins of each request, an empty one among them."""
    sample = sample_request(signal)
    body = to_json(sample) if encoding == "json" else to_protobuf(sample)
    bodies = [body, b"{}" if encoding == "json" else b"", body]
    assert _alone(bodies, signal, encoding) == _together(bodies, signal, encoding)


@pytest.mark.parametrize("signal", Signal)
def test_a_broken_request_costs_those_beside_it_nothing(signal: Signal) -> None:
    """One that is no request at all, and one that is cut off, among good ones."""
    body = to_protobuf(sample_request(signal))
    bodies = [body, b"\xff\xff\xff", body[:-7], body]
    assert _alone(bodies, signal, "protobuf") == _together(bodies, signal, "protobuf")


def test_too_many_records_together_are_not_too_many_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on the records of a request is one for each request."""
    monkeypatch.setattr(limits, "MAX_RECORDS", 3)
    bodies = [to_protobuf(traces_request([{}] * count)) for count in (2, 3, 4)]
    assert _alone(bodies, Signal.TRACES, "protobuf") == _together(bodies, Signal.TRACES, "protobuf")
