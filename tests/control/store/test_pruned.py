"""A journal whose beginning was taken away: the same state, proven from there on."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from headgate_control.audit.heads import Head, heads
from headgate_control.audit.log import AuditLog, LogConfig, closed_segments
from headgate_control.audit.pruning import last_before, prune_log, pruned, restate
from headgate_control.audit.verify import Verdict, verify
from headgate_control.state import ControlState, State
from headgate_control.stops.commands import resume, stop
from headgate_control.stops.stop import parse_key
from headgate_control.store.opening import open_sqlite
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change

TOLD: dict[str, Any] = {"author": "commands", "reason": "retention"}


def fill(store: ControlStore) -> None:
    """Some stops, one of which ended, and records that changed."""
    for name in "abc":
        stop(store, parse_key("team", name), mode="stop", author="ada", reason=name)
    resume(store, parse_key("team", "b"), author="ada", reason="over")
    for number in range(3):
        store.change([Change(kind="note", id="n", body={"number": number})], author="ada", action="note")


def seen(state: State) -> tuple[int, set[str]]:
    """What is stopped, and the epoch."""
    return state.snapshot.stops.epoch, {stop.key[1] for stop in state.snapshot.stops}


def prune(store: ControlStore, position: int) -> int:
    """As control does it."""
    restate(store, position, **TOLD)
    return store.prune(position, **TOLD)


def verdicts(store: ControlStore, folder: Path, known: list[Head] | None = None) -> dict[str, Verdict]:
    """What is said of each chain, which has no fault."""
    found = verify(store, folder, known or [])
    assert [] == found.all_findings
    return {chain.writer: chain for chain in found.chains}


def test_what_is_left_of_a_journal_gives_the_same_state(opener: Callable[..., ControlStore], tmp_path: Path) -> None:
    """Of several writers, one of which writes no more: again and again."""
    first, second = opener("control-1"), opener("control-2")
    fill(first)
    stop(second, parse_key("team", "of-two"), mode="pause", author="bob", reason="x")
    resume(first, parse_key("team", "of-two"), author="ada", reason="over")
    before, kept_elsewhere = seen(ControlState(first).now), heads(first, tmp_path)
    for round_of in range(3):
        late = ControlState(first)
        last = first.events(limit=10_000)[-1].position
        restate(first, last, **TOLD)
        late.refresh()
        assert first.prune(last, **TOLD) > 0
        assert before == seen(ControlState(first).now) == seen(late.refresh())
        found = verdicts(first, tmp_path, kept_elsewhere)
        assert found["control-1"].pruned > 0
        fill_one(first, round_of)
    assert (1, 2) == (found["control-2"].pruned, found["control-2"].number)
    stop(second, parse_key("team", "new"), mode="stop", author="bob", reason="x")
    assert {*before[1], "new"} == seen(ControlState(second).now)[1]
    verdicts(second, tmp_path, kept_elsewhere)


def fill_one(store: ControlStore, number: int) -> None:
    """One more change."""
    store.change([Change(kind="note", id="n", body={"round": number})], author="ada", action="note")


def test_only_what_is_old_goes(opener: Callable[..., ControlStore], tmp_path: Path) -> None:
    """What comes after the position stays as it is, with what each record was before."""
    store = opener("control-1")
    fill(store)
    events = store.events()
    middle = events[4]
    prune(store, middle.position)
    left = store.events()
    assert events[5:] == left[: len(events) - 5]
    assert (5, len(left) + 5) == (verdicts(store, tmp_path)["control-1"].pruned, left[-1].number)


@pytest.fixture
def bare(tmp_path: Path) -> Any:
    """Control state in a file, pruned to its half."""
    with closing(open_sqlite(tmp_path / "control.db", writer="control-1")) as store:
        fill(store)
        prune(store, store.events()[4].position)
        yield store


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM journal WHERE number = 6", "it stands where record 6 should"),
        ("DELETE FROM records WHERE kind = 'pruned'", "it stands where record 1 should"),
        ("UPDATE records SET body = replace(body, '\"number\":5', '\"number\":4')", "it stands where record 5 should"),
        ("UPDATE records SET body = '{\"number\":7}' WHERE kind = 'note'", "note n: it is not what the journal says"),
        ("UPDATE journal SET body = replace(body, 'over', 'ever')", "its body is TEXT, and control writes BLOB"),
        (
            "UPDATE journal SET body = CAST(replace(body, 'over', 'ever') AS BLOB)",
            "it was changed: its digest is another",
        ),
    ],
)
def test_whoever_takes_away_more_than_was_pruned_is_found(
    bare: Any, tmp_path: Path, statement: str, expected: str
) -> None:
    """Or hides what was, or changes what is left."""
    with bare._engine.begin() as connection:
        connection.execute(text(statement.replace(":", "\\:")))
    problems = [finding.problem for finding in verify(bare, tmp_path).all_findings]
    assert any(expected in problem for problem in problems), problems


def test_a_head_of_what_was_pruned_is_compared(bare: Any, tmp_path: Path) -> None:
    """One that was kept elsewhere and is another shows that the beginning was another."""
    last = pruned(bare)["journal", "control-1"]
    own = Head(kept="journal", writer="control-1", number=last.number, digest=last.digest)
    other = Head(kept="journal", writer="control-1", number=last.number, digest="0" * 64)
    older = Head(kept="journal", writer="control-1", number=last.number - 1, digest="0" * 64)
    assert [] == verify(bare, tmp_path, [own, older]).all_findings
    assert ["it was pruned, and is not the record that was anchored"] == [
        finding.problem for finding in verify(bare, tmp_path, [other]).all_findings
    ]


def test_what_is_older_is_a_beginning(tmp_path: Path) -> None:
    """Of the journal, by the times of its events."""
    with closing(open_sqlite(tmp_path / "control.db", writer="control-1")) as store:
        fill(store)
        events = store.events()
        found = [last_before(store, events[index].time_unix_nano) for index in (0, 4)]
    assert [None, events[3].position] == [None if one is None else one.position for one in found]


def test_files_of_a_log_go_from_its_beginning_and_the_log_goes_on(tmp_path: Path) -> None:
    """What is left is proven from there on; without the journal's word it would be a fault."""
    logs, config = tmp_path / "log", LogConfig(file_bytes_max=1_000)
    with closing(open_sqlite(tmp_path / "control.db", writer="control-1")) as store:
        with closing(AuditLog.open(logs, "decisions", config)) as log:
            for number in range(40):
                log.append({"kind": "decision", "decision_id": f"dec-{number:04}"})
        segments = list(closed_segments(logs, "decisions"))
        prune_log(store, segments[:3], **TOLD)
        with closing(AuditLog.open(logs, "decisions", config)) as log:
            log.append({"kind": "decision", "decision_id": "dec-new"})
        found = verdicts(store, logs)["decisions"]
        assert (segments[2].last.number, 41) == (found.pruned, found.number)
        segments[3].path.unlink()
        assert "it stands where record" in verify(store, logs).all_findings[0].problem


def test_the_file_that_is_written_is_no_closed_one(tmp_path: Path) -> None:
    """Nor is the last that holds anything, when the next is still empty."""
    with closing(AuditLog.open(tmp_path, "decisions", LogConfig(file_bytes_max=1_000))) as log:
        for number in range(9):
            log.append({"kind": "decision", "decision_id": f"dec-{number:04}"})
    files = sorted(tmp_path.glob("*.jsonl"))
    (tmp_path / "decisions-000000000010.jsonl").touch()
    assert files[:-1] == [segment.path for segment in closed_segments(tmp_path, "decisions")]
