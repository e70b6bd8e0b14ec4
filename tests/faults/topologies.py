"""The ways from an agent to the receiver: none between, one Collector, or two."""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme
from parts import COLLECTOR, CONFIGURATIONS, Part

from headgate_processors.credentials.issuer import ISSUER, Issuer, make_keys
from headgate_processors.testing.ports import free_port

AGENT = "spiffe://headgate.internal/collector/agent"
LIFETIME_S = 12 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where agents send to, and what stands between."""

    address: str
    parts: Sequence[Part] = ()
    metrics_ports: Sequence[int] = ()

    def is_empty(self) -> bool:
        """Whether no Collector holds anything back, by its own metrics."""
        return all(_queued(port) == 0 for port in self.metrics_ports)


def direct(_folder: Path, port: int) -> Way:
    """Agents send straight to the receiver."""
    return Way(address=f"127.0.0.1:{port}")


def local(folder: Path, port: int) -> Way:
    """`local.yaml`: a queue on disk."""
    collector = _Collector("local", folder, HEADGATE_COLLECTOR_RECEIVER=f"127.0.0.1:{port}")
    return Way(address=collector.address, parts=[collector.part], metrics_ports=[collector.metrics_port])


def chain(folder: Path, port: int) -> Way:
    """`agent.yaml` with a queue on disk, TLS, then `gateway.yaml`, which keeps nothing."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    keys = make_keys(folder / "issuer")
    token = Issuer.open(folder / "issuer").token(AGENT, audience="headgate-telemetry", lifetime_s=LIFETIME_S)
    (folder / "token").write_text(token)
    gateway = _Collector(
        "gateway",
        folder,
        HEADGATE_COLLECTOR_RECEIVER=f"127.0.0.1:{port}",
        HEADGATE_COLLECTOR_RECEIVER_INSECURE="true",
        HEADGATE_COLLECTOR_TOKEN=_collector_token(folder / "store"),
        HEADGATE_COLLECTOR_CERT_FILE=str(folder / "cert.pem"),
        HEADGATE_COLLECTOR_KEY_FILE=str(folder / "key.pem"),
        HEADGATE_COLLECTOR_ISSUER=ISSUER,
        HEADGATE_COLLECTOR_JWKS_FILE=str(keys),
    )
    agent = _Collector(
        "agent",
        folder,
        HEADGATE_COLLECTOR_GATEWAY=gateway.address,
        HEADGATE_COLLECTOR_GATEWAY_CA_FILE=str(folder / "ca.pem"),
        HEADGATE_COLLECTOR_TOKEN_FILE=str(folder / "token"),
    )
    collectors = (gateway, agent)
    return Way(
        address=agent.address,
        parts=[one.part for one in collectors],
        metrics_ports=[one.metrics_port for one in collectors],
    )


TOPOLOGIES: Mapping[str, Callable[[Path, int], Way]] = {"direct": direct, "local": local, "chain": chain}


class _Collector:
    """A Collector with a configuration as it is shipped, on ports of its own."""

    def __init__(self, name: str, folder: Path, **environment: str) -> None:
        port, self.metrics_port = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        self.part = Part(
            name=f"collector-{name}",
            command=[str(COLLECTOR), f"--config={CONFIGURATIONS / f'{name}.yaml'}"],
            port=port,
            logs=folder,
            environment={
                "HEADGATE_COLLECTOR_DATA": str(folder / f"{name}-queue"),
                "HEADGATE_COLLECTOR_GRPC_PORT": str(port),
                "HEADGATE_COLLECTOR_HTTP_PORT": str(free_port()),
                "HEADGATE_COLLECTOR_PLATFORM_PORT": str(free_port()),
                "HEADGATE_COLLECTOR_HEALTH_PORT": str(free_port()),
                "HEADGATE_COLLECTOR_METRICS_PORT": str(self.metrics_port),
                **environment,
            },
        )


def _collector_token(store: Path) -> str:
    """A token with which a Collector sends to the receiver of a store."""
    command = [sys.executable, "-m", "headgate_console", "token", "create", "--role", "collector", "--json"]
    made = subprocess.run([*command, "--data", str(store)], check=True, capture_output=True)
    token: str = json.loads(made.stdout)["token"]
    return token


def _queued(port: int) -> float:
    """What a Collector's queues hold."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(r"^otelcol_exporter_queue_size\{.*\} (\S+)$", text, re.MULTILINE))
