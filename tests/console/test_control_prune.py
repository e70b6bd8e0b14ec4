"""Old records of control are taken away once the store has them, and the rest is proven."""

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

import pytest
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter

from headgate_console.control import pruning
from headgate_console.control.place import Place
from headgate_console.control.retelling import retell
from headgate_console.settings import Settings
from headgate_console.testing.commands import Run, runner
from headgate_control.audit.log import AuditLog, LogConfig
from headgate_control.budgets.amount import Amount, Limits
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.stops.commands import stop
from headgate_control.stops.stop import parse_key
from headgate_control.store.opening import open_sqlite
from headgate_control.testing.identities import instance
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.port import Sender
from headgate_processors.testing.otlp import logs_request, to_json

pytestmark = pytest.mark.slow

DAY_NS = 86_400_000_000_000
SMALL = LogConfig(file_bytes_max=2_000)
COUNT = 30
BUDGET = Budget(budget_id="b", place=("team", "a"), window="total", limits=Limits(calls=99))


@pytest.fixture
def place(workbench: Any) -> Place:
    """A folder of control that is old: decisions and books in several files, a dozen events; the store has none."""
    workbench.ingest([])
    found, old_ns = Place(data=workbench.folder), time.time_ns() - 200 * DAY_NS
    with closing(open_sqlite(found.database, writer="control")) as store:
        store._clock = lambda: old_ns
        for number in range(6):
            stop(store, parse_key("team", str(number)), mode="stop", author="ada", reason="loops")
    with closing(AuditLog.open(found.logs, "decisions", SMALL)) as log:
        for number in range(COUNT):
            log.append(row(number))
    with closing(BudgetOwner.open(found.logs, [BUDGET], SMALL)) as owner:
        for number in range(COUNT):
            owner.reserve(f"dec-{number}", [("team", "a")], Amount(calls=1), at_unix_nano=0, expires_unix_nano=1)
            owner.settle(f"dec-{number}", Amount(calls=1))
    # The books themselves, at the next start: what is before them is needed no more.
    BudgetOwner.open(found.logs, [BUDGET], SMALL).close()
    age(found)
    (found.folder / "told").write_text("1000")
    return found


def row(number: int) -> dict[str, object]:
    """A decision as its log has it."""
    return {"kind": "decision", "decision_id": f"dec-{number}", "time_unix_nano": 5, "session": "s", "decision": True}


def age(place: Place) -> None:
    """Let the files be as old as what is in them."""
    for path in place.logs.glob("*.jsonl"):
        os.utime(path, ns=(1, 1))


def store_decisions(workbench: Any, numbers: range) -> None:
    """Have the store take some of the decisions."""
    records = [
        {
            "time_unix_nano": time.time_ns(),
            "event_name": "headgate.decision",
            "attributes": {"headgate.decision_id": f"dec-{number}"},
        }
        for number in numbers
    ]
    request = logs_request(records, resource={"service.name": "gateway"}, scope="gateway")
    workbench.ingest([(Signal.LOGS, json.loads(to_json(request)))], sender=Sender(role="gateway", subject="g"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Place) -> Run:
    """Run `headgate` on that folder; few events are worth it there."""
    monkeypatch.setenv("HEADGATE_DATA", str(place.data))
    monkeypatch.setattr(pruning, "EVENTS_MIN", 3)
    return runner(capsys)


def pruned(run: Run) -> dict[str, Any]:
    """What the command says that it did."""
    result = run("control", "prune", "--json")
    assert 0 == result.code, result.err
    found: dict[str, Any] = json.loads(result.out)[0]
    return found


def files(place: Place) -> list[str]:
    """The logs that are there."""
    return sorted(path.name for path in place.logs.glob("*.jsonl"))


def test_what_is_old_and_in_the_store_goes_and_the_rest_is_proven(run: Run, place: Place, workbench: Any) -> None:
    """Also the books: they hold what they held; a second time there is nothing to do."""
    store_decisions(workbench, range(COUNT))
    before = files(place)
    done = pruned(run)
    assert set(done["files"]) == set(before) - set(files(place))
    assert {"decisions", "budgets"} == {name.rpartition("-")[0] for name in done["files"]}
    assert (True, []) == (done["events"] > 0, done["kept"])
    verified = run("audit", "verify")
    assert (0, "Every chain is whole after what was pruned.") == (verified.code, verified.out.splitlines()[-1])
    with closing(BudgetOwner.open(place.logs, [BUDGET], SMALL)) as owner:
        assert COUNT == owner.account(BUDGET, 0).settled.calls
    with closing(open_sqlite(place.database, writer="control")) as store:
        assert 6 == len(store.all("stop"))
    again = pruned(run)
    assert ([], 0) == (again["files"], again["events"])


def test_a_file_with_a_decision_that_the_store_has_not_stays_and_all_after_it(
    run: Run, place: Place, workbench: Any
) -> None:
    """It is named; so is why it could not be told again. Nothing is lost."""
    store_decisions(workbench, range(1, COUNT))
    done = pruned(run)
    assert ([], 0) == (done["files"], done["told"])
    assert "decisions-000000000001.jsonl: 1 of its decisions are not in the store yet" in done["kept"]
    assert any("could not be told now" in one for one in done["kept"])
    store_decisions(workbench, range(1))
    assert pruned(run)["files"]


@pytest.mark.parametrize("kept", ["0 d", "30000 d"])
def test_what_is_to_be_kept_stays(
    run: Run, place: Place, workbench: Any, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """For ever, or because it is not old enough."""
    monkeypatch.setenv("HEADGATE_CONTROL__RETENTION", kept)
    store_decisions(workbench, range(COUNT))
    before = files(place)
    for path in place.logs.glob("*.jsonl"):
        path.touch()
    assert {"files": [], "events": 0, "told": 0, "kept": []} == pruned(run)
    assert before == files(place)


def test_the_file_from_which_the_next_start_reads_the_books_stays(run: Run, place: Place, workbench: Any) -> None:
    """However old it is."""
    store_decisions(workbench, range(COUNT))
    for path in sorted(place.logs.glob("budgets-*.jsonl"))[1:]:
        path.write_bytes(path.read_bytes().replace(b'"kind":"books"', b'"kind":"other"'))
    assert {"decisions"} == {name.rpartition("-")[0] for name in pruned(run)["files"]}


def test_events_that_the_store_was_not_told_of_stay(run: Run, place: Place) -> None:
    """However old they are."""
    (place.folder / "told").write_text("2")
    assert 0 == pruned(run)["events"]


@pytest.mark.slow
def test_it_is_done_in_a_process_of_its_own(place: Place, workbench: Any) -> None:
    """With the settings on its standard input; what stays is on its standard error."""
    store_decisions(workbench, range(COUNT - 3))
    told = json.dumps(Settings(data=place.data).model_dump(mode="json"))
    command = [sys.executable, "-P", "-m", "headgate_console.serve.prune"]
    done = subprocess.run(command, input=told + "\n", capture_output=True, text=True, check=False, timeout=60)
    assert 0 == done.returncode, done.stderr
    assert "decisions-000000000001.jsonl" not in files(place)


def test_a_decision_is_told_again_as_its_log_has_it() -> None:
    """At its own time, in its trace, with whom it was about."""
    to = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    rows = [{**row(number), "instance_id": "ai-1", "trace_id": "0a", "span_id": "b"} for number in range(600)]
    assert 600 == retell(rows, {"ai-1": instance("ai-1", team="payments")}, to)
    first = to.get_finished_logs()[0].log_record
    assert ("headgate.decision", 5, 10, 11) == (first.event_name, first.timestamp, first.trace_id, first.span_id)
    assert {
        "headgate.decision_id": "dec-0",
        "headgate.decision": True,
        "headgate.session_key": "s",
        "session.id": "s",
        "headgate.instance.id": "ai-1",
        "headgate.instance_id": "ai-1",
        "headgate.team": "payments",
    }.items() <= dict(first.attributes or {}).items()
