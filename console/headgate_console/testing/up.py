"""What a started `headgate up` says of its listeners.

with subprocess.Popen([…, "up", …], stdout=subprocess.PIPE, text=True) as process:
    address = listeners(process, {"otlp-grpc", "console"})["otlp-grpc"]
"""

import subprocess
import threading
from collections.abc import Set as AbstractSet
from pathlib import Path

READY_S = 120.0


def listeners(
    process: "subprocess.Popen[str]", names: AbstractSet[str], *, said: Path | None = None, timeout_s: float = READY_S
) -> dict[str, str]:
    """`HOST:PORT` of each listener, as soon as all of these are ready; `said` is where its errors go.

    Raises:
        AssertionError: it ended, or was not ready in time; nothing of it runs any more.
    """
    assert process.stdout is not None
    overdue = threading.Timer(timeout_s, process.kill)
    overdue.daemon = True
    overdue.start()
    found: dict[str, str] = {}
    try:
        for line in process.stdout:
            _, name, address = line.split()
            found[name] = address
            if names <= found.keys():
                return found
    finally:
        overdue.cancel()
        if not names <= found.keys():
            process.kill()
    why = said.read_text(encoding="utf-8") if said is not None else ""
    raise AssertionError(
        f"headgate up ended with code {process.wait()}, or was not ready within {timeout_s:g} s: {found} {why}"
    )
