"""The ways from an agent to the receiver: none between, one Collector, or two."""

import json
import re
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts import COLLECTOR, CONFIGURATIONS, Part, free_port


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
    """`local.yaml` as it is shipped, on ports of its own."""
    part, listen, metrics = _collector(
        "local", folder, ["local.yaml"], {"HEADGATE_COLLECTOR_RECEIVER": f"127.0.0.1:{port}"}
    )
    return Way(address=f"127.0.0.1:{listen}", parts=[part], metrics_ports=[metrics])


TOPOLOGIES: Mapping[str, Callable[[Path, int], Way]] = {"direct": direct, "local": local}


def _collector(name: str, folder: Path, files: Sequence[str], environment: Mapping[str, str]) -> tuple[Part, int, int]:
    """A Collector with the shipped configuration on other ports: the part, its gRPC port, its metrics port."""
    grpc, http, health, metrics = (free_port() for _ in range(4))
    ports = folder / f"{name}-ports.yaml"
    ports.write_text(json.dumps(_ports(grpc, http, health, metrics)))
    configurations = [f"--config={CONFIGURATIONS / file}" for file in files]
    part = Part(
        name=f"collector-{name}",
        command=[str(COLLECTOR), *configurations, f"--config={ports}"],
        port=grpc,
        logs=folder,
        environment={"HEADGATE_COLLECTOR_DATA": str(folder / f"{name}-queue"), **environment},
    )
    return part, grpc, metrics


def _ports(grpc: int, http: int, health: int, metrics: int) -> dict[str, Any]:
    reader = {"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": metrics}}}}
    return {
        "receivers": {
            "otlp": {
                "protocols": {
                    "grpc": {"endpoint": f"127.0.0.1:{grpc}"},
                    "http": {"endpoint": f"127.0.0.1:{http}"},
                }
            }
        },
        "extensions": {"health_check": {"endpoint": f"127.0.0.1:{health}"}},
        "service": {"telemetry": {"metrics": {"readers": [reader]}}},
    }


def _queued(port: int) -> float:
    """What a Collector's queues hold."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(r"^otelcol_exporter_queue_size\{.*\} (\S+)$", text, re.MULTILINE))
