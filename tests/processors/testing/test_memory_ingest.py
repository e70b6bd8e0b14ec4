"""The ingest double does what its plan says, and knows what it took."""

import threading

import pytest

from headgate_processors.errors import PermanentError, TransientError
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.port import CLIENT, Accepted, Sender
from headgate_processors.testing.ingest import MemoryIngest, Reject, numbered_request
from headgate_processors.testing.otlp import to_json, to_protobuf
from headgate_processors.testing.waiting import PATIENCE_S


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize(("encoding", "encode"), [("protobuf", to_protobuf), ("json", to_json)])
def test_numbered_records_come_back(signal, encoding, encode) -> None:
    """Every record of every signal in either encoding is counted and told by its number."""
    ingest = MemoryIngest()
    accepted = ingest(encode(numbered_request(signal, range(3, 9))), signal=signal, encoding=encoding, sender=CLIENT)
    assert Accepted(received=6, stored=6, rejected=0, message="") == accepted
    assert list(range(3, 9)) == ingest.items(signal)


def test_the_plan_decides_each_call() -> None:
    """A call fails, rejects or keeps as planned; what failed was not kept."""
    plan = {0: TransientError("first"), 1: Reject(records=1, message="one")}
    ingest = MemoryIngest(plan=plan.get)
    body = to_protobuf(numbered_request(Signal.LOGS, [1, 2]))
    with pytest.raises(TransientError, match="first"):
        ingest(body, signal=Signal.LOGS, encoding="protobuf", sender=CLIENT)
    assert 0 == len(ingest.taken)
    accepted = ingest(body, signal=Signal.LOGS, encoding="protobuf", sender=Sender(role="gateway"))
    assert Accepted(received=2, stored=1, rejected=1, message="one", reasons={"planned": 1}) == accepted
    assert ["gateway"] == [taken.sender.witness for taken in ingest.taken]


@pytest.mark.parametrize(
    ("encoding", "body"), [("protobuf", b"\xff\xff"), ("json", b"no json"), ("json", b'{"resourceSpans": 3}')]
)
def test_what_is_no_request_is_refused_for_good(encoding, body) -> None:
    """As the port says: nothing in it can be read as a request."""
    with pytest.raises(PermanentError, match="not a request of traces"):
        MemoryIngest()(body, signal=Signal.TRACES, encoding=encoding, sender=CLIENT)


def test_calls_can_be_held() -> None:
    """While a test holds it, no call returns."""
    ingest = MemoryIngest()
    done = threading.Event()

    def call() -> None:
        ingest(b"", signal=Signal.LOGS, encoding="protobuf", sender=CLIENT)
        done.set()

    with ingest.holding():
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        assert not done.wait(0.02)
    thread.join(PATIENCE_S)
    assert done.is_set()
