"""`python -m headgate_processors.workers.child FD PARENT`: a decode worker, started by `WorkerPool`.

It reads requests from the socket `FD` and writes rows back until the other end closes. It ends at once when
the process `PARENT` ends, and ignores the signals that tell a service to end: its life is its parent's business.
"""

import gc
import logging
import resource
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate_processors.errors import HeadgateError
from headgate_processors.memory import give_back
from headgate_processors.workers.build import PreparerConfig, build_preparer
from headgate_processors.workers.frames import (
    packed_error,
    prepared_frame,
    read_requests,
    receive,
    send,
)
from headgate_processors.workers.lifeline import die_without
from headgate_processors.workers.local import LocalPreparer

_PAGE_BYTES = resource.getpagesize()
_COLLECT_EVERY = 64


def main() -> None:
    """Work until the parent has had enough."""
    sys.argv[0] = "headgate worker"
    die_without(int(sys.argv[2]))
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="headgate worker: %(message)s")
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        try:
            _serve(sock)
        except ConnectionError:
            return


def _serve(sock: socket.socket) -> None:
    frame = receive(sock)
    if frame is None:
        return
    settings = frame[0]
    _bound_memory(settings["memory_max_bytes"])
    try:
        preparer = build_preparer(PreparerConfig.read(settings["preparer"]))
    except HeadgateError as error:
        send(sock, packed_error(error))
        return
    gc.freeze()
    gc.disable()
    send(sock, {"ready": True, "rss_bytes": rss_bytes()})
    groups = 0
    while (frame := receive(sock)) is not None:
        _answer(sock, preparer, *frame)
        del frame
        groups += 1
        if groups % _COLLECT_EVERY == 0:
            gc.collect()
            give_back()


def _answer(sock: socket.socket, preparer: LocalPreparer, head: Mapping[str, Any], content: memoryview) -> None:
    began_ns = time.process_time_ns()
    prepared = preparer.prepare(read_requests(head, content))
    more = {"cpu_ns": time.process_time_ns() - began_ns, "rss_bytes": rss_bytes()}
    send(sock, *prepared_frame(prepared, **more))


def rss_bytes() -> int:
    """The memory that this process has in RAM; its highest so far where `/proc` is missing."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _bound_memory(limit_bytes: int) -> None:
    """Past the limit an allocation fails, which ends this process alone, before the machine runs out."""
    if limit_bytes and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


if __name__ == "__main__":
    main()
