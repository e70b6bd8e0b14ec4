"""What control tells the store: all of the journal, from where it was last sent to, whoever fails in between."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from headgate_console.control import records as records_module
from headgate_console.control.records import ControlRecords
from headgate_control.budgets.amount import Limits
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.ledger import Account
from headgate_control.identity.launch import Launch, launch, revoke
from headgate_control.manifests.load import parse_manifest
from headgate_control.state import ControlState
from headgate_control.stops.commands import resume, stop
from headgate_control.stops.points import Effect, Effects
from headgate_control.store.opening import open_sqlite
from headgate_control.store.record import Change
from headgate_control.store.sql import SqlControlStore

MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, team: payments}
spec: {models: [{provider: openai, model: "*"}]}
"""


class Listener(LogRecordExporter):
    """Takes records, but for the exports whose numbers are in `failing`."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.failing: set[int] = set()
        self.exports = 0
        self.closed = 0

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Take a batch, or none of it."""
        self.exports += 1
        if self.exports in self.failing:
            return LogRecordExportResult.FAILURE
        self.taken += [{"event": one.log_record.event_name, **(one.log_record.attributes or {})} for one in batch]
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        """Count that."""
        self.closed += 1

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """Nothing waits here."""
        return True

    def of(self, name: str) -> list[dict[str, Any]]:
        """The records of one kind."""
        return [one for one in self.taken if one["event"] == f"headgate.{name}"]


@pytest.fixture
def listener() -> Listener:
    """Takes everything."""
    return Listener()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlControlStore]:
    """A fresh store."""
    with closing(open_sqlite(tmp_path / "control.db", writer="control")) as made:
        yield made


@pytest.fixture
def records(listener: Listener, tmp_path: Path) -> ControlRecords:
    """Records that have told nothing yet."""
    return ControlRecords(listener, tmp_path / "told")


def positions(listener: Listener) -> list[int]:
    """Of the journal, as they were told."""
    return [one["headgate.position"] for one in listener.of("audit")]


def stopped(store: SqlControlStore, team: str) -> str:
    """Stop a team; the stop's id."""
    return stop(store, ("team", team), mode="stop", author="ada", reason="it loops").stop_id


def test_a_stop_is_told_when_it_begins_and_when_it_ends(
    records: ControlRecords, listener: Listener, store: SqlControlStore
) -> None:
    """Also when another one takes its place."""
    first, second = stopped(store, "x"), stopped(store, "x")
    resume(store, ("team", "x"), author="ada", reason="mended")
    assert records.send(store)
    told = [(one["headgate.stop_id"], one["headgate.state"]) for one in listener.of("stop")]
    assert [(first, "active"), (first, "ended"), (second, "active"), (second, "ended")] == told
    assert [False, True] == [
        "headgate.ended_unix_nano" in one for one in listener.of("stop") if one["headgate.stop_id"] == first
    ]


def test_what_was_told_is_not_told_again(
    records: ControlRecords, listener: Listener, store: SqlControlStore, tmp_path: Path
) -> None:
    """Nor by the process that comes after it."""
    stopped(store, "x")
    assert records.send(store)
    assert records.send(store)
    before = list(listener.taken)
    assert ControlRecords(listener, tmp_path / "told").send(store)
    assert before == listener.taken
    assert (tmp_path / "told").read_text() == str(store.events()[-1].position)


def test_what_was_not_taken_is_told_later_once(
    records: ControlRecords, listener: Listener, store: SqlControlStore
) -> None:
    """Effects and budgets too, which are in no journal."""
    listener.failing = {1, 2}
    stop_id = stopped(store, "x")
    effect = Effect(enforcement_point="gateway", effect_ns=5, cut=1)
    records.effects(stop_id, 1, Effects(effects=(effect,), silent=()))
    assert [False, False, True] == [records.send(store) for _ in range(3)]
    assert [event.position for event in store.events()] == positions(listener)
    assert [(stop_id, 1, "gateway", 5, 1)] == [
        tuple(one[f"headgate.{name}"] for name in ("stop_id", "epoch", "enforcement_point", "effect_ns", "cut"))
        for one in listener.of("stop_effect")
    ]


def test_the_journal_is_told_whole_when_a_later_batch_fails(
    records: ControlRecords, listener: Listener, store: SqlControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken may come again, as the same record; nothing is left out."""
    monkeypatch.setattr(records_module, "BATCH_RECORDS_MAX", 2)
    listener.failing = {2}
    for team in "abc":
        stopped(store, team)
    assert [False, True] == [records.send(store) for _ in range(2)]
    assert {event.position for event in store.events()} == set(positions(listener))
    again = [one for one in listener.of("audit") if positions(listener).count(one["headgate.position"]) > 1]
    assert len({one["headgate.position"] for one in again}) == len({repr(one) for one in again})


def test_what_waits_is_bounded(
    listener: Listener, store: SqlControlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest are dropped of what is in no journal; the journal itself is read again."""
    monkeypatch.setattr(records_module, "WAITING_MAX", 3)
    records = ControlRecords(listener, tmp_path / "told")
    listener.failing = set(range(1, 10))
    for number in range(9):
        effect = Effect(enforcement_point=f"point-{number}", effect_ns=1, cut=0)
        records.effects("stop-1", 1, Effects(effects=(effect,), silent=()))
        assert not records.send(store)
    assert records.send(store)
    assert ["point-6", "point-7", "point-8"] == [
        one["headgate.enforcement_point"] for one in listener.of("stop_effect")
    ]


def test_a_budget_is_told_when_it_has_changed(
    records: ControlRecords, listener: Listener, store: SqlControlStore
) -> None:
    """Dollars as decimal text; what is not limited is left out."""
    budget = Budget(
        budget_id="b", place=("team", "x"), window="total", limits=Limits(nano_usd=2_500_000_000), mode="hard"
    )
    for _ in range(3):
        records.budget(budget, Account(), 1_000)
    records.send(store)
    (row,) = listener.of("budget")
    assert ("2.500000000", False) == (row["headgate.limit_usd"], "headgate.limit_calls" in row)


def test_a_key_is_no_part_of_what_is_told(records: ControlRecords, listener: Listener, store: SqlControlStore) -> None:
    """Neither its text nor its digest; that there is one, and who revoked it, is."""
    grant = parse_manifest(MANIFEST, {}, source="manifest")
    state = ControlState(store)
    made = launch(store, state.now.snapshot, Launch(grant=grant, launched_by="ada"))
    keys = list(state.refresh().keys.values())
    revoke(store, made.instance.instance_id, keys, author="ada", reason="done")
    records.send(store)
    told = repr(listener.taken)
    assert made.gateway_key not in told
    assert [] == [key.key_id for key in keys if key.written()["digest"] in told]
    assert ["created", "revoked"] == [one["headgate.state"] for one in listener.of("instance")]
    assert 2 == sum(one["headgate.kind"] == "gateway_key" for one in listener.of("audit"))


def test_a_position_that_cannot_be_read_starts_from_the_beginning(
    records: ControlRecords, listener: Listener, store: SqlControlStore, tmp_path: Path
) -> None:
    """Told twice is better than never."""
    (tmp_path / "told").write_text("nonsense")
    stopped(store, "x")
    assert records.send(store)
    assert [event.position for event in store.events()] == positions(listener)
    records.close()
    assert 1 == listener.closed


def test_a_reason_that_nobody_gave_is_none(records: ControlRecords, listener: Listener, store: SqlControlStore) -> None:
    """It is unknown, which is no empty text."""
    store.change([Change(kind="team", id="x", body={})], author="ada", action="team.create")
    assert records.send(store)
    assert [False] == ["headgate.reason" in one for one in listener.of("audit")]
