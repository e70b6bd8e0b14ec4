"""`python -m headgate_processors.store.compactor TASK`: one compaction, in a process of its own that gives way.

`apart.compact_apart` starts it and reads its answer. A byte on the standard input asks it to end between two steps;
when the input closes, whoever started it is gone, and it ends at once: what it finished stands.
"""

import logging
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread

import orjson
import pyarrow as pa

from headgate_processors.errors import HeadgateError
from headgate_processors.store.apart import read_task
from headgate_processors.store.compaction import CompactionHeldError, compact

NICE = 10


def main() -> None:
    """Compact, and say on the standard output what came of it."""
    task = sys.argv[1]
    sys.argv[:] = ["headgate compactor"]
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="headgate compactor: %(message)s")
    os.nice(NICE)
    pa.set_cpu_count(1)
    ending = Event()
    Thread(target=_listen, args=(ending,), name="headgate-lifeline", daemon=True).start()
    sys.stdout.buffer.write(orjson.dumps(_answer(task, ending)))


def _listen(ending: Event) -> None:
    if not os.read(sys.stdin.fileno(), 1):
        os._exit(1)
    ending.set()


def _answer(task: str, ending: Event) -> dict[str, object]:
    folder, config = read_task(task)
    try:
        return {"report": asdict(compact(Path(folder), config=config, should_end=ending.is_set))}
    except CompactionHeldError as error:
        return {"held": str(error)}
    except (HeadgateError, OSError) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    main()
