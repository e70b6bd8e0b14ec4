from typing import Any

import pytest

from headgate_processors.errors import OverloadError, TransientError
from headgate_processors.otlp.port import Signal
from headgate_processors.testing.ingest import MemoryIngest, numbered_request
from headgate_processors.testing.ports import free_port
from headgate_processors.testing.waiting import wait_until

pytestmark = pytest.mark.slow


def _send(collector: Any, numbers: range, **access: Any) -> None:
    """One request of each signal for every ten numbers."""
    for start in range(numbers.start, numbers.stop, 10):
        for signal in Signal:
            collector.send(numbered_request(signal, range(start, start + 10)), signal, **access)


def _all_there(ingest: MemoryIngest, numbers: range) -> bool:
    return all(set(ingest.items(signal)) == set(numbers) for signal in Signal)


def test_what_was_acknowledged_survives_the_collector_and_an_outage_of_the_receiver(
    start_collector: Any, start_receiver: Any
) -> None:
    """The receiver is away, the Collector is killed and started again, the receiver comes: everything arrives."""
    ingest, port = MemoryIngest(), free_port()
    collector = start_collector("local", HEADGATE_COLLECTOR_RECEIVER=f"127.0.0.1:{port}")
    _send(collector, range(200))
    collector.kill()
    collector.start()
    _send(collector, range(200, 300))
    start_receiver(ingest, port=port)
    wait_until(lambda: _all_there(ingest, range(300)))


@pytest.mark.parametrize(
    "error", [TransientError("not now"), OverloadError("full", retry_after_s=0.1), RuntimeError("a bug")], ids=repr
)
def test_what_the_receiver_cannot_take_now_is_sent_again(
    error: BaseException, start_collector: Any, start_receiver: Any
) -> None:
    """Whatever fails on our side is answered so that the Collector keeps the data."""
    ingest = MemoryIngest(plan=lambda call: error if call < 4 else None)
    collector = start_collector("local", HEADGATE_COLLECTOR_RECEIVER=start_receiver(ingest))
    _send(collector, range(10))
    wait_until(lambda: _all_there(ingest, range(10)))


def test_a_gateway_answers_when_the_receiver_has_answered(
    start_collector: Any, start_receiver: Any, credentials: Any
) -> None:
    """At the moment of the answer the receiver has it; a sender waits as long as the receiver is busy."""
    ingest = MemoryIngest()
    collector = start_collector("gateway", credentials.environment, HEADGATE_COLLECTOR_RECEIVER=start_receiver(ingest))
    access = {"token": credentials.token("agent-7"), "authority": credentials.authority}
    _send(collector, range(10), **access)
    assert _all_there(ingest, range(10))


def test_agent_and_gateway_killed_in_turn_lose_nothing(
    start_collector: Any, start_receiver: Any, credentials: Any, tmp_path: Any
) -> None:
    """Queue on disk once, at the agents; the gateway holds nothing that was acknowledged."""
    ingest = MemoryIngest()
    token = tmp_path / "token"
    token.write_text(credentials.token("spiffe://headgate/node/n1"), encoding="utf-8")
    gateway = start_collector("gateway", credentials.environment, HEADGATE_COLLECTOR_RECEIVER=start_receiver(ingest))
    agent = start_collector(
        "agent",
        credentials.environment,
        HEADGATE_COLLECTOR_GATEWAY=f"localhost:{gateway.ports['GRPC']}",
        HEADGATE_COLLECTOR_TOKEN_FILE=str(token),
    )
    _send(agent, range(100))
    gateway.kill()
    _send(agent, range(100, 200))
    agent.kill()
    agent.start()
    gateway.start()
    _send(agent, range(200, 300))
    wait_until(lambda: _all_there(ingest, range(300)))
