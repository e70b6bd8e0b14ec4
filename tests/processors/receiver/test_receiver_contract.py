"""Nothing is lost: what a good client sends is stored, or it is told for good that it is not.

After the Collector's `receivertest.CheckConsumeContract`: numbered records go through a server whose
ingest fails at random, and the client does as OTLP says.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate_processors.errors import OverloadError, PermanentError, TooLargeError, TransientError
from headgate_processors.otlp.port import Signal
from headgate_processors.replay.requests import ReplayRequest
from headgate_processors.replay.sender import send
from headgate_processors.testing.ingest import MemoryIngest, numbered_request
from headgate_processors.testing.otlp import to_json, to_protobuf

REQUESTS = 60
RECORDS = 5
PERMANENT = (PermanentError, TooLargeError)
TEMPORARY = (TransientError, OverloadError, RuntimeError)
KINDS: dict[str, tuple[type[Exception], ...]] = {
    "never": (),
    "permanent": PERMANENT,
    "transient": TEMPORARY[:1],
    "overload": TEMPORARY[1:2],
    "unexpected": TEMPORARY[2:],
    "everything": PERMANENT + TEMPORARY,
}


def failing(kind: str, refused: list[Exception]) -> Callable[[int], Exception | None]:
    """A plan that fails half of the calls; the errors that end a request are noted."""
    chance = random.Random(kind)

    def plan(_: int) -> Exception | None:
        if not KINDS[kind] or chance.random() < 0.5:
            return None
        error = chance.choice(KINDS[kind])("as planned")
        if isinstance(error, PERMANENT):
            refused.append(error)
        return error

    return plan


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("signal", list(Signal))
def test_sent_is_stored_plus_refused_for_good(start, kind, protocol, signal) -> None:
    """Every record is stored once, or its request was refused for good, whatever fails and how often."""
    refused: list[Exception] = []
    ingest = MemoryIngest(plan=failing(kind, refused))
    running = start(ingest, running=4, waiting=8)
    messages = [numbered_request(signal, range(at, at + RECORDS)) for at in range(0, REQUESTS * RECORDS, RECORDS)]
    requests = [
        ReplayRequest(
            path=Path("numbered"),
            line=number,
            signal=signal,
            encoding="json" if number % 2 else "protobuf",
            body=to_json(message) if number % 2 else to_protobuf(message),
        )
        for number, message in enumerate(messages)
    ]
    report = send(
        requests,
        f"{protocol}://{running.grpc}" if protocol == "grpc" else f"http://{running.http}",
        pause=lambda _: None,
    )
    stored = ingest.items(signal)
    assert len(stored) == len(set(stored)) == report.acknowledged * RECORDS
    assert REQUESTS == report.acknowledged + report.failed
    assert len(refused) == report.failed == REQUESTS - len(ingest.taken)
    assert "" == report.given_up
