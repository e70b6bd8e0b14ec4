from pathlib import Path
from typing import Any

import pytest

from headgate_console.collector.binary import check
from headgate_console.collector.catalogue import every_selection, select
from headgate_console.collector.files import missing, paths
from headgate_processors.otlp.port import Signal
from headgate_processors.testing.ingest import MemoryIngest, numbered_request
from headgate_processors.testing.waiting import wait_until

pytestmark = pytest.mark.slow

WITH_TLS = frozenset({"gateway", "gateway+disk_queue", "gateway+load_balancing", "gateway+kafka"})
OVER_KAFKA = frozenset({"gateway+kafka", "kafka_consumer"})
ALL = [selection.label for selection in every_selection()]
NOWHERE = "127.0.0.1:9"


@pytest.fixture
def environment(credentials: Any, tmp_path: Path) -> dict[str, str]:
    """Every variable that some configuration must have."""
    token = tmp_path / "token"
    token.write_text(credentials.token("spiffe://headgate/node/n1"), encoding="utf-8")
    return {
        **credentials.environment,
        "HEADGATE_COLLECTOR_GATEWAY": NOWHERE,
        "HEADGATE_COLLECTOR_TOKEN_FILE": str(token),
        "HEADGATE_COLLECTOR_RECEIVER_DNS_NAME": "localhost",
        "HEADGATE_COLLECTOR_KAFKA_BROKER": NOWHERE,
    }


@pytest.mark.parametrize("name", ALL)
def test_the_collector_finds_nothing_wrong(name: str, collector_binary: Path, environment: dict[str, str]) -> None:
    """Each configuration, with each overlay that it may have, is valid in the words of the Collector itself."""
    selection = select(name)
    assert () == missing(selection, environment)
    assert "" == check(collector_binary, paths(selection), environment)


@pytest.mark.parametrize("name", sorted(set(ALL) - OVER_KAFKA - {"agent"}))
def test_it_starts_and_delivers_every_signal(
    name: str, start_collector: Any, start_receiver: Any, environment: dict[str, str], credentials: Any
) -> None:
    """What is sent to a started one arrives at the receiver: spans, log records, data points."""
    ingest = MemoryIngest()
    receiver = start_receiver(ingest)
    port = receiver.rpartition(":")[2]
    collector = start_collector(
        name, environment, HEADGATE_COLLECTOR_RECEIVER=receiver, HEADGATE_COLLECTOR_RECEIVER_PORT=port
    )
    access = {"token": credentials.token("agent-7"), "authority": credentials.authority} if name in WITH_TLS else {}
    for signal in Signal:
        collector.send(numbered_request(signal, range(5)), signal, **access)
    for signal in Signal:
        wait_until(lambda signal=signal: ingest.items(signal) == list(range(5)))
    assert 0 == collector.end()


def test_an_agent_collector_delivers_through_a_gateway(
    start_collector: Any, start_receiver: Any, environment: dict[str, str], credentials: Any, tmp_path: Path
) -> None:
    """Agents without a token, their Collector with one in a file, a gateway over TLS, the receiver."""
    ingest = MemoryIngest()
    gateway = start_collector("gateway", environment, HEADGATE_COLLECTOR_RECEIVER=start_receiver(ingest))
    agent = start_collector("agent", environment, HEADGATE_COLLECTOR_GATEWAY=f"localhost:{gateway.ports['GRPC']}")
    for signal in Signal:
        agent.send(numbered_request(signal, range(5)), signal)
    for signal in Signal:
        wait_until(lambda signal=signal: ingest.items(signal) == list(range(5)))
    assert [0, 0] == [agent.end(), gateway.end()]


@pytest.mark.parametrize("name", sorted(OVER_KAFKA))
def test_it_starts_while_the_broker_is_away(name: str, start_collector: Any, environment: dict[str, str]) -> None:
    """A Kafka that is away is no reason not to start."""
    collector = start_collector(name, environment)
    assert "Everything is ready" in collector.log
