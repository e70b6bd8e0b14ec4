"""A PostgreSQL database of control: one control at a time has it, with the books of one data folder."""

import json
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headgate_console.control.adopting import adopt
from headgate_console.control.holding import TAKE_OVER_S, let_the_last_notice
from headgate_console.control.parts import Parts, open_parts
from headgate_console.control.place import WRITER, Place
from headgate_console.control.pruning import prune
from headgate_console.settings import Settings
from headgate_console.settings.definition import ControlSettings
from headgate_console.testing.commands import runner
from headgate_control.audit.heads import anchor_logs
from headgate_control.audit.verify import verify
from headgate_control.budgets.amount import Amount, Limits
from headgate_control.budgets.books import FILE
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.budget import Place as BudgetPlace
from headgate_control.budgets.ledger import Answer
from headgate_control.kinds import BUDGET, write_budget
from headgate_control.store.hold import HOLDER, HOLDER_ID, DatabaseHold
from headgate_control.store.opening import open_postgresql
from headgate_control.store.record import Change
from headgate_control.testing.postgresql import Postgresql
from headgate_processors.errors import ConfigError, StoreError, TransientError
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.port import Sender
from headgate_processors.store import Store
from headgate_processors.testing.otlp import logs_request, to_json
from headgate_processors.testing.waiting import PATIENCE_S

pytestmark = pytest.mark.slow
TEAM: BudgetPlace = ("team", "payments")
TEN_CALLS = Budget(budget_id="b-1", place=TEAM, window="total", limits=Limits(calls=10), mode="hard")
END = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1734440037"
Make = Callable[[str], Settings]


@pytest.fixture
def address(postgresql: Postgresql, request: pytest.FixtureRequest) -> str:
    """A database of the test's own."""
    return postgresql.create(f"holding_{abs(hash(request.node.name)):x}")


@pytest.fixture
def machine(address: str, tmp_path: Path) -> Make:
    """The settings of a machine, which has a data folder of its own."""
    return lambda name: Settings(data=tmp_path / name, control=ControlSettings(database=address))


def called(parts: Parts, name: str) -> Answer:
    """A call of the team that reserves, and is settled."""
    owner, now = parts.room.owner, parts.room.clock()
    answer = owner.reserve(
        name, [TEAM], Amount(calls=1), at_unix_nano=now, expires_unix_nano=now + int(PATIENCE_S * 1e9)
    )
    if answer.reservation is not None:
        owner.settle(name, Amount(calls=1))
    return answer


def budgeted(settings: Settings, calls: int) -> None:
    """Set the budget of the team, and make some calls; the books are anchored in the journal, as at each end."""
    with open_parts(settings) as parts:
        parts.room.store.change([Change(kind=BUDGET, id="b-1", body=write_budget(TEN_CALLS))], author="ada", action="b")
        parts.room.owner.set(TEN_CALLS)
        for number in range(calls):
            assert called(parts, f"call-{number}").reservation is not None
        anchor_logs(parts.room.store, [parts.decisions, parts.room.owner.log], author=WRITER)


def used(settings: Settings) -> int:
    """How many calls the budget has taken."""
    with open_parts(settings) as parts:
        return parts.room.owner.account(TEN_CALLS, parts.room.clock()).used.calls


def test_a_second_control_is_refused_with_the_name_of_the_first(machine: Make) -> None:
    """Whether it has other books or a copy of them; when the first has ended, its own folder goes on."""
    first, second = machine("one"), machine("two")
    with open_parts(first) as parts:
        parts.held.listens("127.0.0.1:7410")
        shutil.copytree(first.data, second.data)
        with pytest.raises(StoreError) as refused:
            open_parts(second).__enter__()
    said = str(refused.value)
    assert "at 127.0.0.1:7410" in said
    assert f"with the data folder {first.data}" in said
    assert 0 == used(first)


def test_another_folder_is_refused_until_it_adopts_the_books(machine: Make) -> None:
    """Then the one before is refused; the journal says who took them, from where, and why."""
    first, second = machine("one"), machine("two")
    budgeted(first, calls=3)
    with pytest.raises(StoreError, match=f"are kept in {first.data} on .*, not in {second.data}"):
        used(second)
    done = adopt(second, reason="one is lost")
    with open_parts(second) as parts:
        events = [event for event in parts.room.store.events() if event.action == "control.adopt"]
        verified = verify(parts.room.store, parts.place.logs).all_findings
    with pytest.raises(StoreError, match=f"are kept in {second.data} on "):
        used(first)
    told = [
        (event.reason, event.before["data"], event.after["data"]) for event in events if event.before and event.after
    ]
    assert ([("one is lost", str(first.data), str(second.data))], ("b-1",), []) == (told, done.from_zero, verified)


def test_logs_of_other_books_are_not_verified_for_those_of_the_database(machine: Make) -> None:
    """Also where somebody has removed the id: the journal's heads say nothing about them, and that is told."""
    one, found = machine("one"), []
    budgeted(one, calls=1)
    for is_gone in (False, True):
        place = Place(data=one.data)
        if is_gone:
            (place.logs / FILE).unlink()
        with closing(open_postgresql(str(one.control.database), writer="reader")) as store:
            found.append([finding.problem for finding in verify(store, place.logs).all_findings])
    expected = f"the logs of this journal are in {one.data} on {socket.gethostname()}, and {place.logs} is not of them"
    assert [[], [f"{expected}: verify there"]] == found


def test_a_folder_that_was_copied_has_the_books(machine: Make) -> None:
    """So nothing can be spent again; and the folder that it was copied from is an older copy then."""
    first, second = machine("one"), machine("two")
    budgeted(first, calls=3)
    shutil.copytree(first.data, second.data)
    with open_parts(second) as parts:
        answers = [called(parts, f"more-{number}").reservation is not None for number in range(9)]
        anchor_logs(parts.room.store, [parts.room.owner.log], author=WRITER)
    with pytest.raises(StoreError, match="are an older copy: the control database knows of later entries"):
        used(first)
    assert [True] * 7 + [False] * 2 == answers


def test_an_older_copy_of_the_books_is_adopted_with_what_it_knows(machine: Make, tmp_path: Path) -> None:
    """What was spent since is not known; before that it was refused."""
    one = machine("one")
    budgeted(one, calls=3)
    shutil.copytree(one.data, tmp_path / "copy")
    with open_parts(one) as parts:
        called(parts, "later")
        anchor_logs(parts.room.store, [parts.room.owner.log], author=WRITER)
    shutil.rmtree(one.data)
    shutil.copytree(tmp_path / "copy", one.data)
    with pytest.raises(StoreError, match="are an older copy"):
        used(one)
    done = adopt(one, reason="the disk was put back")
    assert (3, ()) == (used(one), done.from_zero)


def test_one_that_did_not_end_well_on_another_machine_is_given_time(machine: Make) -> None:
    """To notice that it has lost the database; one of this folder is dead, for the logs are free."""
    one, slept = machine("one"), list[float]()
    for host in ("elsewhere", None):
        with open_parts(one) as parts:
            store, record = parts.room.store, parts.room.store.get(HOLDER, HOLDER_ID)
            assert record is not None
            body = record.body if host is None else {**record.body, "host": host}
            store.change([Change(kind=HOLDER, id=HOLDER_ID, body=body)], author="ada", action="x")
            let_the_last_notice(store, parts.place, slept.append)
    with closing(open_postgresql(str(one.control.database), writer="reader")) as store:
        assert ([TAKE_OVER_S], None) == (slept, store.get(HOLDER, HOLDER_ID))


@pytest.mark.parametrize("is_held", [True, False], ids=["has-it", "had-it"])
def test_a_control_that_has_lost_its_database_denies_at_once(machine: Make, address: str, is_held: bool) -> None:
    """Whatever it has read a moment ago; and also where the other has ended since."""
    with open_parts(machine("one")) as parts, closing(psycopg.connect(address, autocommit=True)) as database:
        before_ns = parts.room.age_ns()
        database.execute(END)
        with closing(DatabaseHold.take(address, name="control of two")):
            change = Change(kind=HOLDER, id=HOLDER_ID, body={"host": "two", "data": "/two", "run": "another"})
            parts.room.store.change([change], author="two", action="control.hold")
            with pytest.raises(TransientError):
                parts.held.check()
            said = refusal(parts) if is_held else ""
        said = said or refusal(parts)
        after_ns = parts.room.age_ns()
    expected = (
        "is held by the control of two with" if is_held else "another control held the control database meanwhile"
    )
    assert (True, True, True) == (before_ns < 5e9, expected in said, after_ns > 1e15)


def refusal(parts: Parts) -> str:
    """Why it must not go on."""
    with pytest.raises(StoreError) as refused:
        parts.held.check()
    return str(refused.value)


def test_its_names_in_the_journal_are_of_the_machine_and_the_folder(machine: Make) -> None:
    """So that two parts on one host never write one chain."""
    names = []
    for name in ("one", "two"):
        if name == "two":
            adopt(machine(name), reason="moved")
        with open_parts(machine(name)) as parts:
            names.append(parts.held.writer)
    assert (2, [True, True]) == (len(set(names)), [name.startswith("control-") for name in names])


def test_only_the_folder_with_the_books_prunes(machine: Make) -> None:
    """Another one does not know what its store was told."""
    first, second = machine("one"), machine("two")
    budgeted(first, calls=0)
    Place(data=second.data).folder.mkdir(parents=True)
    Store.open(second.data, writer="test").close()
    with pytest.raises(StoreError, match="are kept in"):
        prune(second)
    assert [] == prune_files(first)


def prune_files(settings: Settings) -> list[str]:
    """What goes in the folder of the books: nothing is old."""
    Store.open(settings.data, writer="test").close()
    return prune(settings).files


@pytest.mark.parametrize(("turn", "spent"), [("", 8), ("2020-01-01", 0)], ids=["this", "another"])
def test_what_the_store_here_was_told_counts_as_spent(machine: Make, workbench: Any, turn: str, spent: int) -> None:
    """With what was reserved, for the window that is open; so the budget is not spent again."""
    budgeted(machine("one"), calls=8)
    second = Settings(data=workbench.folder, control=machine("two").control)
    row = {"budget_id": "b-1", "turn": turn, "settled_calls": 6, "reserved_calls": 2, "settled_usd": "0.5"}
    told = {f"headgate.{name}": value for name, value in row.items()}
    event = {"time_unix_nano": time.time_ns(), "event_name": "headgate.budget", "attributes": told}
    request = logs_request([event], resource={"service.name": "headgate-control"}, scope="headgate.control")
    workbench.ingest([(Signal.LOGS, json.loads(to_json(request)))], sender=Sender(role="control", subject="control"))
    done = adopt(second, reason="one is lost")
    with open_parts(second) as parts:
        granted = [called(parts, f"more-{number}").reservation is not None for number in range(11)]
    assert (10 - spent, bool(spent), None) == (granted.count(True), bool(done.spent), done.unread)


def test_adopt_is_for_databases_that_machines_share(tmp_path: Path) -> None:
    """A file has its books beside it."""
    with pytest.raises(ConfigError, match="its books lie beside it"):
        adopt(Settings(data=tmp_path), reason="why not")


def test_the_command_says_what_counts_from_zero(
    machine: Make, address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whose the books were."""
    first, second = machine("one"), machine("two")
    budgeted(first, calls=3)
    monkeypatch.setenv("HEADGATE_CONTROL__DATABASE", address)
    run: Any = runner(capsys)
    done = run("control", "adopt", "--reason", "one is lost", "--data", str(second.data))
    status = json.loads(run("control", "status", "--json", "--data", str(second.data)).out)[0]
    assert 0 == done.code
    assert f"and no more in {first.data} on " in done.out
    assert "b-1: nothing is known of it here; IT COUNTS FROM ZERO." in done.out
    assert "The store here could not be asked" in done.err
    assert status["holder"] is None
