"""What control tells the store: stops and their effects, budgets, instances and the journal, as log events."""

import json
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.resources import Resource

from headgate_console.control.platform import Pinned, channel
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.ledger import Account
from headgate_control.identity.instance import Instance
from headgate_control.kinds import GATEWAY_KEY, INSTANCE, STOP, read_stop
from headgate_control.server.budget_routes import shown_account
from headgate_control.server.stop_routes import shown_stop
from headgate_control.stops.points import Effects
from headgate_control.stops.stop import Stop
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Event
from headgate_processors.files import write_whole

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue

WAITING_MAX = 8_192
BATCH_RECORDS_MAX = 512
EVENTS_MAX = 1_000
SEND_S = 2.0
SERVICE = "headgate-control"
_OF_JOURNAL = frozenset({"headgate.audit", "headgate.stop", "headgate.instance"})
PREFIX = "headgate."


def exporter_to(address: str, token: str, pinned: Pinned | None) -> LogRecordExporter:
    """Sends to the platform listener at `HOST:PORT`; a token is needed there, and TLS where it is `pinned`."""
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter  # noqa: PLC0415 - takes a second.

    headers = (("authorization", f"Bearer {token}"),)
    return OTLPLogExporter(endpoint=address, headers=headers, timeout=SEND_S, **channel(pinned))


class ControlRecords:
    """Makes log events and sends them when told to; what is not taken waits, `WAITING_MAX` of it at most.

    The journal is read from where it was last sent to, kept in the file `position`, so nothing of it is left out.
    """

    def __init__(self, exporter: LogRecordExporter, position: Path) -> None:
        self._exporter, self._position = exporter, position
        self._guard = threading.Lock()
        self._budgets: dict[str, dict[str, object]] = {}
        self._made = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self._waiting: deque[ReadableLogRecord] = deque(maxlen=WAITING_MAX)
        self._provider = LoggerProvider(resource=Resource({"service.name": SERVICE}), shutdown_on_exit=False)
        self._provider.add_log_record_processor(SimpleLogRecordProcessor(self._made))
        self._logger = self._provider.get_logger("headgate.control")

    def send(self, store: ControlStore) -> bool:
        """Send what waits and what the journal has got; whether all of it was taken.

        Raises:
            TransientError: the journal cannot be read.
            OSError: how far it was sent cannot be written down.
        """
        position = self._sent()
        events = store.events(after=position, limit=EVENTS_MAX)
        for event in events:
            self.event(event)
        with self._guard:
            self._waiting.extend(self._made.get_finished_logs())
            self._made.clear()
        while self._waiting:
            batch = list(islice(self._waiting, BATCH_RECORDS_MAX))
            if self._exporter.export(batch) is not LogRecordExportResult.SUCCESS:
                return self._put_back(events)
            for _ in batch:
                self._waiting.popleft()
        if events:
            write_whole(self._position, str(events[-1].position).encode())
        return True

    def _put_back(self, events: Sequence[Event]) -> bool:
        """Forget what is of the journal: it is read again."""
        if events:
            kept = [one for one in self._waiting if one.log_record.event_name not in _OF_JOURNAL]
            self._waiting.clear()
            self._waiting.extend(kept)
        return False

    def _sent(self) -> int:
        try:
            return int(self._position.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def close(self) -> None:
        """Let go of the connection. Safe to call twice."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def event(self, event: Event) -> None:
        """One change of control state, and what it means for a stop or an instance."""
        self._tell(
            "audit",
            event.time_unix_nano,
            {
                "writer": event.writer,
                "number": event.number,
                "digest": event.digest,
                "position": event.position,
                "author": event.author,
                "action": event.action,
                "reason": event.reason or None,
                "kind": event.kind,
                "id": event.id,
                "before": None if event.kind == GATEWAY_KEY else _text(event.before),
                "after": None if event.kind == GATEWAY_KEY else _text(event.after),
            },
        )
        if event.kind == STOP:
            self._stop(event)
        elif event.kind == INSTANCE and event.after is not None:
            self._instance(event)

    def effects(self, stop_id: str, epoch: int, found: Effects) -> None:
        """What enforcement points did about a stop, as it was heard now."""
        at_unix_nano = time.time_ns()
        for one in found.effects:
            told = {"enforcement_point": one.enforcement_point, "effect_ns": one.effect_ns, "cut": one.cut}
            self._tell("stop_effect", at_unix_nano, {"stop_id": stop_id, "epoch": epoch, **told})

    def budget(self, budget: Budget, account: Account, at_unix_nano: int) -> None:
        """What a budget's window holds, where that is something else than was told last."""
        row = shown_account(budget, account, at_unix_nano)
        if self._budgets.get(budget.budget_id) != row:
            self._budgets[budget.budget_id] = row
            self._tell("budget", at_unix_nano, row)

    def _stop(self, event: Event) -> None:
        """A stop that begins, or with `ended_unix_nano` one that ends, also because another takes its place."""
        before, after = (None if body is None else read_stop(body) for body in (event.before, event.after))
        if before is not None and (after is None or after.stop_id != before.stop_id):
            self._tell("stop", event.time_unix_nano, _stop_row(before, "ended", event.time_unix_nano))
        if after is not None:
            self._tell("stop", event.time_unix_nano, _stop_row(after, "active", None))

    def _instance(self, event: Event) -> None:
        assert event.after is not None
        instance = Instance.read(event.after)
        self._tell("instance", event.time_unix_nano, instance.written())

    def _tell(self, name: str, at_unix_nano: int, columns: Mapping[str, object]) -> None:
        attributes: dict[str, AnyValue] = {
            f"{PREFIX}{column}": _value(value) for column, value in columns.items() if value is not None
        }
        with self._guard:
            self._emit(name, at_unix_nano, attributes)

    def _emit(self, name: str, at_unix_nano: int, attributes: Mapping[str, Any]) -> None:
        self._logger.emit(
            timestamp=at_unix_nano,
            observed_timestamp=at_unix_nano,
            severity_number=SeverityNumber.INFO,
            event_name=f"{PREFIX}{name}",
            attributes=attributes,
        )


def _stop_row(stop: Stop, state: str, ended_unix_nano: int | None) -> dict[str, object]:
    return {**shown_stop(stop), "ended_unix_nano": ended_unix_nano, "state": state}


def _text(body: Mapping[str, object] | None) -> str | None:
    return None if body is None else json.dumps(body, sort_keys=True)


def _value(value: object) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [str(one) for one in value]
    return value
