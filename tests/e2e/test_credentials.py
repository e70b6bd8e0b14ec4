"""Credentials of a running `headgate up`: made, rotated and revoked beside it; what is told, and what is not."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from headgate_console.testing.up import listeners
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.grpc_server import SERVICES
from headgate_processors.testing.http import PROTOBUF, request
from headgate_processors.testing.otlp import to_protobuf, traces_request
from headgate_processors.testing.waiting import PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

HEADGATE = [sys.executable, "-m", "headgate_console"]
METHOD = next(f"/{service}/Export" for service, signal_ in SERVICES.items() if signal_ is Signal.TRACES)
PORTS = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--platform", "127.0.0.1:0", "--console", "127.0.0.1:0"]
LISTENERS = {"console", "otlp-grpc", "otlp-http", "otlp-platform"}
AGENT = "spiffe://headgate/agent/agt-7"


class Running:
    """A `headgate up` on free ports, what it writes kept in a file."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "store"
        self.said = folder / "said"
        with self.said.open("wb") as said:
            command = [*HEADGATE, "up", "--data", str(self.data), *PORTS]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        told = listeners(self.process, LISTENERS, said=self.said)
        self.addresses = {name.removeprefix("otlp-"): address for name, address in told.items()}

    def headgate(self, *arguments: str) -> Any:
        """What a command answers in JSON."""
        command = [*HEADGATE, *arguments, "--data", str(self.data), "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def sent(self, name: str, number: int, token: str | None, *, over: str = "http") -> str:
        """The status of one span, sent with a token."""
        span = {
            "name": name,
            "span_id": f"{number:016x}",
            "trace_id": f"{number:032x}",
            "attributes": {"headgate.x": 1},
        }
        body = to_protobuf(traces_request([span], resource={"service.name": name, "headgate.team": "t"}))
        if over == "http":
            headers = {"authorization": f"Bearer {token}"} if token else {}
            answer = request(self.addresses["http"], "POST", "/v1/traces", body, content_type=PROTOBUF, **headers)
            return str(answer.status)
        metadata = [("authorization", f"Bearer {token}")] if token else []
        with grpc.insecure_channel(self.addresses[over]) as channel:
            try:
                call: Any = channel.unary_unary(METHOD)
                call(body, metadata=metadata, timeout=PATIENCE_S)
            except grpc.RpcError as error:
                return str(error.code().name)
        return "OK"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A running `headgate up`, killed at the end if it still runs."""
    running = Running(tmp_path)
    yield running
    running.process.kill()
    running.process.communicate()


def test_tokens_are_made_used_rotated_and_revoked_while_it_runs(running: Running) -> None:
    """Each decides the witness of its rows; what is refused is counted; no token is in any file or answer."""
    gateway = running.headgate("token", "create", "--role", "gateway")
    agent = running.headgate("token", "create", "--role", "client", "--subject", AGENT)
    forged = agent["token"][:-1] + ("0" if agent["token"][-1] != "0" else "1")
    assert ["200", "200", "OK"] == [
        running.sent("nobody", 1, None),
        running.sent("agent", 2, agent["token"]),
        running.sent("gateway", 3, gateway["token"], over="platform"),
    ]
    assert ["401", "UNAUTHENTICATED", "UNAUTHENTICATED", "PERMISSION_DENIED"] == [
        running.sent("forged", 4, forged),
        running.sent("forged", 5, "sk-proj-of-another-product", over="grpc"),
        running.sent("forged", 6, None, over="platform"),
        running.sent("forged", 7, agent["token"], over="platform"),
    ]
    successor = running.headgate("token", "create", "--role", "gateway")
    running.headgate("token", "revoke", gateway["token_id"])
    assert ("OK", "UNAUTHENTICATED") == (
        running.sent("successor", 8, successor["token"], over="platform"),
        running.sent("forged", 9, gateway["token"], over="platform"),
    )
    counted = request(running.addresses["http"], "GET", "/metrics").body.decode()
    running.process.send_signal(signal.SIGTERM)
    assert 0 == running.process.wait(PATIENCE_S)
    rows = running.headgate(
        "sql", "SELECT name, witness, identity_source, instance_id, attributes FROM spans ORDER BY span_id"
    )
    assert [
        ("nobody", "client", "unknown", {}),
        ("agent", "client", "verified", {}),
        ("gateway", "gateway", "unknown", {"headgate.x": 1}),
        ("successor", "gateway", "unknown", {"headgate.x": 1}),
    ] == [(row["name"], row["witness"], row["identity_source"], json.loads(row["attributes"])) for row in rows]
    assert "agt-7" == rows[1]["instance_id"]
    assert 'status="PERMISSION_DENIED"} 1' in counted
    written = b"".join(path.read_bytes() for path in running.data.rglob("*") if path.is_file())
    written += running.said.read_bytes() + counted.encode()
    secrets = [one["token"].rpartition("_")[2] for one in (gateway, agent, successor)] + [forged, "sk-proj-of-another"]
    assert not [secret for secret in secrets if secret.encode() in written]
