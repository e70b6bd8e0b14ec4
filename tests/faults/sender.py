"""A sender that may be killed at any time: it writes down a request's number after the acknowledgement, never before.

    python tests/faults/sender.py 127.0.0.1:4317 acknowledged.txt --first 0 --step 4

It repeats a request until it is acknowledged, and ends on SIGTERM when the one it holds is.
"""

import argparse
import os
import signal
import threading
from itertools import count

import grpc
import numbered

OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
TIMEOUT_S = 10.0
PAUSE_S = 0.1


def send(export: "grpc.UnaryUnaryMultiCallable[bytes, bytes]", number: int, give_up: threading.Event) -> bool:
    """Send one request until it is acknowledged; False when it was told to give up."""
    body = numbered.body(number)
    while True:
        try:
            export(body, timeout=TIMEOUT_S)
        except grpc.RpcError:
            if give_up.wait(PAUSE_S):
                return False
        else:
            return True


def main() -> None:
    """Send until SIGTERM; a second SIGTERM gives up the request it holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("acknowledged")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between requests")
    arguments = parser.parse_args()
    stop, give_up = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: give_up.set() if stop.is_set() else stop.set())
    log = os.open(arguments.acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    with grpc.insecure_channel(arguments.address, options=OPTIONS) as channel:
        exports = {one: channel.unary_unary(method) for one, method in numbered.METHODS.items()}
        for number in count(arguments.first, arguments.step):
            if not send(exports[numbered.signal_of(number)], number, give_up):
                return
            os.write(log, f"{number}\n".encode())
            if stop.wait(arguments.pause):
                return


if __name__ == "__main__":
    main()
