"""The processes of a fault plan: each can be started, killed at any moment, and started again where it was."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headgate_processors.testing.ports import listens
from headgate_processors.testing.processes import descendants

READY_S = 60.0
END_S = 60.0
LOOK_EVERY_S = 0.05
CONFIGURATIONS = Path(__file__).parents[2] / "collector-config"
COLLECTOR = Path(__file__).parents[2] / "build" / "collector" / "headgate-collector"


@dataclass(slots=True, kw_only=True)
class Part:
    """One command that listens on `port`; `logs` gets what it says. A crash of a `group` takes its children too."""

    name: str
    command: Sequence[str]
    port: int | None
    logs: Path
    group: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            RuntimeError: it ended, or did not listen in time.
        """
        with (self.logs / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **self.environment}
            )
        deadline = time.monotonic() + READY_S
        while self.port is not None and not listens(self.port):
            if not self.runs or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not listen on {self.port}: see {self.logs / self.name}.log")
            time.sleep(LOOK_EVERY_S)

    def kill(self) -> None:
        """End it as a crash would, with nothing said."""
        if self.process is not None:
            if self.group and self.runs:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()

    def stop(self, signals: int = 1) -> int:
        """Ask it to end, that many times, and wait; its exit code.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        assert self.process is not None
        for _ in range(signals):
            self.process.terminate()
            time.sleep(LOOK_EVERY_S)
        return self.process.wait(END_S)

    def kill_member(self, command: str, choose: int) -> bool:
        """Kill one of the processes under this one whose command line contains `command`; False when there is none."""
        members = descendants(self.process.pid, command=command) if self.process is not None and self.runs else []
        if not members:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(members[choose % len(members)], signal.SIGKILL)
        return True


def headgate(folder: Path, logs: Path, *, port: int) -> Part:
    """`headgate up` on a port of its own, with short intervals so that much happens in little time."""
    listeners = ["--grpc", f"127.0.0.1:{port}", "--http", "127.0.0.1:0", "--console", "127.0.0.1:0"]
    return Part(
        name="headgate",
        command=[sys.executable, "-m", "headgate_console", "up", "--data", str(folder), *listeners],
        port=port,
        logs=logs,
        environment={
            "HEADGATE_RECEIVER__PLATFORM": "127.0.0.1:0",
            "HEADGATE_STORE__SEAL_INTERVAL": "1s",
            "HEADGATE_STORE__COMPACT_INTERVAL": "3s",
        },
    )


def compactor(folder: Path, logs: Path) -> Part:
    """`headgate compact`, again and again, beside the compactor that `headgate up` has."""
    compact = f"{sys.executable} -m headgate_console compact --data {folder}"
    return Part(
        name="compactor",
        command=["sh", "-c", f"while true; do {compact}; sleep 1; done"],
        port=None,
        logs=logs,
        group=True,
    )


def sender(
    number: int, count: int, address: str, acknowledged: Path, logs: Path, *, first: int, pause_s: float
) -> Part:
    """One of `count` senders; it begins with a number that none before it had."""
    script = str(Path(__file__).with_name("sender.py"))
    numbers = ["--first", str(first * count + number), "--step", str(count), "--pause", str(pause_s)]
    return Part(
        name=f"sender-{number}",
        command=[sys.executable, script, address, str(acknowledged), *numbers],
        port=None,
        logs=logs,
    )
