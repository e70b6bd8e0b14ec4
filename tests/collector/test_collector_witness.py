"""From a sender's token to the witness of its rows: the Collector verifies and stamps, the receiver believes it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate_analytics import open_views
from headgate_console.collector.launch import FOLDER, environment_beside, make_credentials
from headgate_console.testing.up import listeners
from headgate_processors.credentials.issuer import Issuer
from headgate_processors.testing.otlp import traces_request
from headgate_processors.testing.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

FORGED = {
    "headgate.auth.subject": "spiffe://headgate/control/c1",
    "headgate.decision_id": "forged",
    "headgate.team": "payments",
}


def _request(name: str, number: int) -> Any:
    span = {
        "name": name,
        "span_id": f"{number:016x}",
        "trace_id": f"{number:032x}",
        "attributes": {**FORGED, "headgate.note": name},
        "links": [{"attributes": FORGED}],
    }
    return traces_request([span], resource={"service.name": name, **FORGED})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A store that `headgate up --behind-collector` serves, with the keys of its Collector, and where it listens."""
    data = tmp_path / "store"
    data.mkdir()
    make_credentials(data)
    ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--console", "127.0.0.1:0"]
    command = [sys.executable, "-m", "headgate_console", "up", "--behind-collector", "--data", str(data), *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
        try:
            yield data, listeners(up, {"otlp-grpc"})["otlp-grpc"]
        finally:
            up.terminate()


def test_a_row_has_the_witness_that_its_senders_token_names(store: tuple[Path, str], start_collector: Any) -> None:
    """A gateway's rows are a gateway's, with what it says; a client's are a client's, whatever it claims to be."""
    data, receiver = store
    environment = environment_beside(data, {"HEADGATE_COLLECTOR_RECEIVER": receiver})
    collector = start_collector("local+platform", environment)
    token = Issuer.open(data / FOLDER).token(
        "spiffe://headgate/gateway/model", audience="headgate-platform", lifetime_s=600
    )
    collector.send(_request("client", 1))
    collector.send(_request("gateway", 2), port="PLATFORM", token=token)

    def rows() -> list[Any]:
        with open_views(data) as views:
            query = "SELECT service_name, witness, attributes->>'headgate.note', resource_attributes, team FROM spans"
            return views.sql(query + " ORDER BY 1").fetchall()

    wait_until(lambda: len(rows()) == 2)
    client, gateway = rows()
    assert ("client", "client", None) == client[:3]
    assert ("gateway", "gateway", "gateway") == gateway[:3]
    assert "control" not in client[3] + gateway[3]
    assert "payments" == client[4]
    with open_views(data) as views:
        links = views.sql("SELECT attributes::VARCHAR FROM span_links").fetchall()
    assert 2 == len(links)
    assert [] == [text for (text,) in links if text and "headgate." in text]
