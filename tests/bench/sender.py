"""A sender of load in a process of its own: `python tests/bench/sender.py --endpoint URL --seconds S`."""

import argparse
import json
import time
from collections.abc import Iterator

from loads import COLLECTOR_SIZE

from headgate_processors.generate import Load, PlanConfig
from headgate_processors.generate.deliver import paced
from headgate_processors.generate.load import build_plan
from headgate_processors.replay.requests import ReplayRequest
from headgate_processors.replay.sender import SendConfig, send

WITHOUT_END = 1 << 40


def main() -> None:
    """Send until the time is up, then say what was acknowledged; the first line says that it begins."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.0, help="spans a second; 0 is as fast as they are taken")
    parser.add_argument("--sdk", action="store_true", help="requests as SDKs send them")
    parser.add_argument("--mix", default="{}")
    chosen = parser.parse_args()
    plan = build_plan(PlanConfig(spans=WITHOUT_END, mix=json.loads(chosen.mix)))
    load = Load(plan, lambda _: time.time_ns(), None if chosen.sdk else COLLECTOR_SIZE)
    print("begins", flush=True)
    every_second: list[int] = []
    requests = _timed(load, chosen.seconds, every_second)
    began_s, cpu_s = time.monotonic(), time.process_time()
    report = send(
        paced(requests, load.made, chosen.rate) if chosen.rate else requests,
        chosen.endpoint,
        config=SendConfig(in_flight=chosen.in_flight),
    )
    said = {
        "spans": load.made.spans,
        "logs": load.made.logs,
        "requests": load.made.requests,
        "body_bytes": load.made.bytes,
        "seconds": time.monotonic() - began_s,
        "cpu_s": time.process_time() - cpu_s,
        "retries": report.retries,
        "failed": report.failed,
        "rejected": report.rejected_records,
        "reasons": list(report.reasons),
        "every_second": every_second,
    }
    print(json.dumps(said), flush=True)


def _timed(load: Load, seconds: float, every_second: list[int]) -> Iterator[ReplayRequest]:
    """The requests of a load until the time is up, with the number of spans at the end of each second."""
    began_s = time.monotonic()
    for request in load:
        yield request
        gone_s = time.monotonic() - began_s
        while len(every_second) < int(gone_s):
            every_second.append(load.made.spans)
        if gone_s >= seconds:
            return


if __name__ == "__main__":
    main()
