"""Through a real Kafka broker, from Maven Central: gateway, broker, consumer, receiver."""

import base64
import fcntl
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate_processors.otlp.port import Signal
from headgate_processors.testing.ingest import MemoryIngest, numbered_request
from headgate_processors.testing.ports import free_port, listens
from headgate_processors.testing.waiting import wait_until

pytestmark = pytest.mark.slow

FILES = Path(__file__).parent / "kafka"
BUILD = Path(__file__).parents[2] / "build" / "kafka"
START_S_MAX = 120.0
JAVA = ["java", "-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", "libs/*"]


def _jars() -> None:
    """The broker's jars in `build/kafka/libs`, fetched once."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (BUILD / "libs").exists():
            return
        shutil.copy(FILES / "pom.xml", BUILD)
        fetch = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs.part"]
        subprocess.run(fetch, cwd=BUILD, check=True, timeout=600)
        (BUILD / "libs.part").rename(BUILD / "libs")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a broker; where Java or Maven is missing these tests are left out, but not in CI."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "needs java and mvn: the broker's jars come from Maven Central"
        )
    _jars()
    folder = tmp_path_factory.mktemp("kafka")
    port, controller = free_port(), free_port()
    properties = folder / "server.properties"
    properties.write_text(
        (FILES / "server.properties").read_text(encoding="utf-8")
        + f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n"
        + f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n"
        + f"controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n"
        + f"log.dirs={folder / 'logs'}\n",
        encoding="utf-8",
    )
    cluster = base64.urlsafe_b64encode(uuid.UUID(int=7).bytes).decode().rstrip("=")
    tool = [*JAVA, "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(properties)]
    subprocess.run(tool, cwd=BUILD, check=True, capture_output=True, timeout=START_S_MAX)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*JAVA, "kafka.Kafka", str(properties)], cwd=BUILD, stdout=log, stderr=log)
        try:
            _wait_for(port, process, folder / "log")
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not listens(port):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.2)


def test_what_a_gateway_acknowledged_reaches_the_receiver_through_kafka(
    broker: str, start_collector: Any, start_receiver: Any, credentials: Any
) -> None:
    """Nothing is missing, although the consumer starts later, is killed, and the receiver comes last."""
    ingest, port = MemoryIngest(), free_port()
    gateway = start_collector("gateway+kafka", credentials.environment, HEADGATE_COLLECTOR_KAFKA_BROKER=broker)
    access = {"token": credentials.token("agent-7"), "authority": credentials.authority}
    for start in range(0, 100, 10):
        for signal in Signal:
            gateway.send(numbered_request(signal, range(start, start + 10)), signal, **access)
    consumer = start_collector(
        "kafka_consumer",
        HEADGATE_COLLECTOR_KAFKA_BROKER=broker,
        HEADGATE_COLLECTOR_RECEIVER=f"127.0.0.1:{port}",
        HEADGATE_COLLECTOR_RECEIVER_INSECURE="true",
    )
    wait_until(lambda: any(consumer.queue.iterdir()))
    consumer.kill()
    consumer.start()
    start_receiver(ingest, port=port)
    for signal in Signal:
        wait_until(lambda signal=signal: set(ingest.items(signal)) == set(range(100)), timeout_s=90)
    bodies = b"".join(taken.body for taken in ingest.taken)
    assert b"headgate.auth.subject" in bodies
    assert b"agent-7" in bodies
