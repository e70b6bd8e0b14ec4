"""A sender that may be killed at any time: it writes down a request's number after the acknowledgement, never before.

    python tests/faults/sender.py 127.0.0.1:4317 acknowledged.txt --first 0 --step 4

It repeats a request until it is acknowledged, and ends on SIGTERM when the one it holds is.
"""

import argparse
import os
import signal
import time
from itertools import count

import grpc
import numbered

OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
TIMEOUT_S = 10.0
PAUSE_S = 0.1
LOOK_EVERY_S = 0.02


class Told:
    """How often it was told to end. A signal's handler may take no lock, so this is a number that is looked at."""

    def __init__(self) -> None:
        self.times = 0
        signal.signal(signal.SIGTERM, self._again)

    def _again(self, *_: object) -> None:
        self.times += 1

    def within(self, seconds: float, *, times: int) -> bool:
        """Wait, but no longer than until it was told so many times; whether it was."""
        deadline = time.monotonic() + seconds
        while self.times < times and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_EVERY_S))
        return self.times >= times


def send(export: "grpc.UnaryUnaryMultiCallable[bytes, bytes]", number: int, told: Told) -> bool:
    """Send one request until it is acknowledged; False when it was told to give up."""
    body = numbered.body(number)
    while True:
        try:
            export(body, timeout=TIMEOUT_S)
        except grpc.RpcError:
            if told.within(PAUSE_S, times=2):
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
    told = Told()
    log = os.open(arguments.acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    with grpc.insecure_channel(arguments.address, options=OPTIONS) as channel:
        exports = {one: channel.unary_unary(method) for one, method in numbered.METHODS.items()}
        for number in count(arguments.first, arguments.step):
            if not send(exports[numbered.signal_of(number)], number, told):
                return
            os.write(log, f"{number}\n".encode())
            if told.within(arguments.pause, times=1):
                return


if __name__ == "__main__":
    main()
