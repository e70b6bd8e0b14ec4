"""Loads of made sessions, brought to where they are wanted, with a report of what was made."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headgate_console.settings import Settings
from headgate_console.wiring import open_deriver, open_store, preparer_config
from headgate_processors.generate.deliver import fill_store, paced, write_requests, write_truths
from headgate_processors.generate.load import Load, build_plan
from headgate_processors.generate.plan import Plan, PlanConfig
from headgate_processors.generate.recorded import read_sessions
from headgate_processors.generate.rows import row_template
from headgate_processors.generate.template import compiled
from headgate_processors.generate.truth import truths
from headgate_processors.replay.sender import SendConfig, send
from headgate_processors.workers.build import build_preparer

Bars = Callable[[str], AbstractContextManager[Callable[[int, int | None], None]]]
"""Opens a progress bar for what is counted."""


@dataclass(slots=True, kw_only=True)
class Generated:
    """What was made, and what became of it; requests are 0 where none were made."""

    seed: int
    sessions: int = 0
    spans: int = 0
    logs: int = 0
    requests: int = 0
    body_bytes: int = 0
    acknowledged: int = 0
    failed: int = 0
    retries: int = 0
    rejected_records: int = 0
    derived_sessions: int = 0
    duration_s: float = 0.0
    reasons: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """The report as one row."""
        return {**asdict(self), "duration_s": round(self.duration_s, 3)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How a load is made and sent; `truth` is where to write what it holds.

    `is_derived` says whether the sessions of a store that is filled are derived as well.
    """

    config: PlanConfig
    request_records: int | None = None
    rate: float | None = None
    in_flight: int = 8
    truth: Path | None = None
    is_derived: bool = True


def send_load(delivery: Delivery, endpoint: str, bars: Bars) -> Generated:
    """Send a load as OTLP, each session as of now; returns when every request has its final answer.

    Raises:
        ConfigError: the mix or the endpoint is wrong.
        TransientError: nobody answers.
    """
    plan = build_plan(delivery.config)
    load = Load(plan, lambda _: time.time_ns(), delivery.request_records)
    requests = iter(load) if delivery.rate is None else paced(load, load.made, delivery.rate)
    began_s = time.monotonic()
    with bars("spans") as bar:
        report = send(
            requests,
            endpoint,
            config=SendConfig(in_flight=delivery.in_flight),
            progress=lambda _: bar(load.made.spans, plan.expected_spans),
        )
    done = _made(delivery, plan, load, began_s)
    done.acknowledged, done.failed, done.retries = report.acknowledged, report.failed, report.retries
    done.rejected_records = report.rejected_records
    done.reasons = [*report.reasons, *report.messages, *filter(None, [report.given_up])]
    return done


def write_load(delivery: Delivery, path: Path, bars: Bars) -> Generated:
    """Write a load to a file that `headgate replay` reads; its last session starts about now."""
    plan = build_plan(delivery.config)
    load = Load(plan, _ending_now(plan), delivery.request_records)
    began_s = time.monotonic()
    with bars("spans") as bar:
        for _ in write_requests(load, path):
            bar(load.made.spans, plan.expected_spans)
    return _made(delivery, plan, load, began_s)


def fill_load(delivery: Delivery, settings: Settings, bars: Bars) -> Generated:
    """Put the rows of a load into the store of the settings, and derive its sessions unless told otherwise.

    Raises:
        ConfigError: the mix or a rule table is wrong.
        StoreError: another process holds the store, or derives it.
        TransientError: the store cannot take more.
    """
    done = Generated(seed=delivery.config.seed)
    with open_deriver(settings) as deriver:
        plan = _fill(delivery, settings, bars, done)
        if delivery.is_derived:
            with bars("sessions") as bar:
                done.derived_sessions = deriver.run(report=bar).sessions
    if delivery.truth is not None:
        write_truths(truths(plan), delivery.truth)
    return done


def _fill(delivery: Delivery, settings: Settings, bars: Bars, done: Generated) -> Plan:
    sessions = read_sessions()
    plan = build_plan(delivery.config, [compiled(session) for session in sessions])
    with closing(open_store(settings)) as store, bars("spans") as bar:
        normaliser = build_preparer(preparer_config(settings)).normaliser
        began_s = time.monotonic()
        rows = {session.name: row_template(session, normaliser) for session in sessions}
        for filled in fill_store(store, plan, rows, _ending_now(plan)):
            bar(filled.spans, plan.expected_spans)
        done.sessions, done.spans, done.logs = filled.sessions, filled.spans, filled.logs
    done.duration_s = time.monotonic() - began_s
    return plan


def _made(delivery: Delivery, plan: Plan, load: Load, began_s: float) -> Generated:
    done = Generated(seed=delivery.config.seed, duration_s=time.monotonic() - began_s, sessions=load.made.sessions)
    done.spans, done.logs, done.requests = load.made.spans, load.made.logs, load.made.requests
    done.body_bytes = load.made.bytes
    if delivery.truth is not None:
        write_truths(truths(plan), delivery.truth)
    return done


def _ending_now(plan: Plan) -> Callable[[int], int]:
    """Sessions start over the time of the plan, and the last of them ends about now."""
    first_unix_nano = time.time_ns() - plan.duration_ns - plan.longest_ns
    return lambda start_ns: first_unix_nano + start_ns
