"""Headgate itself, started for the demo on free ports, and the recordings sent to it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from headgate_console.demo.recordings import write_recent
from headgate_console.errors import CommandError
from headgate_console.queries.opening import open_views
from headgate_console.settings import Settings, load_settings
from headgate_processors.errors import StoreError

START_S_MAX = 60.0
DERIVED_S_MAX = 60.0
QUIET_S = 2.0
LISTENERS = {"otlp-grpc", "otlp-http", "console", "control", "model-gateway"}
ENVIRONMENT = {
    "HEADGATE_STORE__SEAL_INTERVAL": "0.2 s",
    "HEADGATE_RECEIVER__PLATFORM": "127.0.0.1:0",
    "HEADGATE_CONTROL__LISTEN": "127.0.0.1:0",
    "HEADGATE_GATEWAYS__MODEL__LISTEN": "127.0.0.1:0",
}


@contextmanager
def running(data: Path, log: Path, variables: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
    """`headgate up` on free ports for as long as the context lasts; gives the address of each listener.

    `variables` are set in its environment.

    Raises:
        CommandError: it did not start.
    """
    anywhere = "127.0.0.1:0"
    command = [sys.executable, "-m", "headgate_console", "up", "--data", str(data)]
    command += ["--grpc", anywhere, "--http", anywhere, "--console", anywhere]
    with resources.as_file(resources.files("headgate_console.demo") / "registry.yaml") as registry:
        environment = {**os.environ, **ENVIRONMENT, **(variables or {}), "HEADGATE_REGISTRY__FILE": str(registry)}
        with log.open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
            with process:
                try:
                    yield _listeners(process, log)
                finally:
                    process.send_signal(signal.SIGTERM)
                    process.wait()


def _listeners(process: "subprocess.Popen[str]", log: Path) -> dict[str, str]:
    assert process.stdout is not None
    found: dict[str, str] = {}
    for line in process.stdout:
        _, name, address = line.split()
        found[name] = address
        if set(found) >= LISTENERS:
            return found
    message = f"headgate up did not start: {log.read_text(encoding='utf-8').strip()}"
    raise CommandError(message)


def send_recordings(endpoint: str) -> str:
    """Replay the recordings to an OTLP endpoint with the command a person would use; gives what it printed.

    Raises:
        CommandError: not everything was acknowledged.
    """
    with TemporaryDirectory(prefix="headgate-demo-") as folder:
        write_recent(Path(folder), now_unix_nano=time.time_ns())
        command = [sys.executable, "-m", "headgate_console", "replay", folder, "--endpoint", endpoint]
        sent = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - as above
    if sent.returncode:
        message = f"the recordings were not all taken: {sent.stderr.strip()}"
        raise CommandError(message)
    return sent.stdout


def wait_until_derived(data: Path) -> int:
    """Wait until what was sent is in sessions and nothing changes any more; gives the number of sessions.

    Raises:
        CommandError: no session appeared.
    """
    settings = load_settings({"data": data}).settings
    deadline = time.monotonic() + DERIVED_S_MAX
    seen, since = (0, 0), time.monotonic()
    while time.monotonic() < deadline:
        found = _derived(settings)
        if found != seen:
            seen, since = found, time.monotonic()
        elif seen[0] and time.monotonic() - since > QUIET_S:
            return seen[0]
        time.sleep(0.2)
    message = "no session appeared; see headgate doctor"
    raise CommandError(message)


def _derived(settings: Settings) -> tuple[int, int]:
    try:
        with open_views(settings) as views:
            row = views.execute("SELECT count(*), coalesce(max(revision), 0) FROM sessions").fetchone()
    except StoreError:
        return 0, 0
    assert row is not None
    return row
