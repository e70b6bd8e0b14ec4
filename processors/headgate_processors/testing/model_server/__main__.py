"""Serve a scenario until a signal: `python -m headgate_processors.testing.model_server multi_step --port 8080`."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from headgate_processors.errors import HeadgateError
from headgate_processors.testing.model_server.scenario import scenario_names
from headgate_processors.testing.model_server.server import ModelServer


def main() -> int:
    """Serve; the address is the first line on standard output."""
    parser = argparse.ArgumentParser(prog="model_server", description=__doc__)
    parser.add_argument("scenario", help=f"a YAML file, or one of {', '.join(scenario_names())}")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) for a free one")
    parser.add_argument("--workspace", default=".", help="folder that absolute paths in tool calls are in")
    parser.add_argument("--log", type=Path, help="write every exchange here, as JSON lines")
    chosen = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    workspace = str(Path(chosen.workspace).resolve())
    try:
        server = ModelServer(chosen.scenario, port=chosen.port, variables={"workspace": workspace}, log=chosen.log)
        with server:
            sys.stdout.write(f"ready model-server {server.address}\n")
            sys.stdout.flush()
            ended.wait()
    except (HeadgateError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
