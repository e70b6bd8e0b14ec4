"""What a gateway that was killed leaves, its next process tells."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from headgate_control.audit.log import AuditLog
from headgate_control.identity.instance import Instance
from headgate_control.testing.identities import SECOND, instance
from headgate_gateways.model.left import tell_left
from headgate_gateways.model.named import CallTrace
from headgate_gateways.model.telling import Silent, Telling
from headgate_gateways.model.told import ToldCall
from headgate_gateways.model.unfinished import PLACES, Entry, Unfinished
from headgate_gateways.model.usage import Usage

NOW = 1_000
CALL = ToldCall(
    trace=CallTrace(trace_id=1 << 127, span_id=1 << 63, parent_span_id=7),
    decision_id="dec-1",
    operation="chat",
    provider="openai",
    request_model="gpt-5",
    began_unix_nano=900,
    ended_unix_nano=900,
    session="thread-1",
    is_stream=True,
    retry_count=1,
)
WHO = instance("ai-1")


def opened(folder: Path) -> Unfinished:
    """The file, as a process that begins has it."""
    found = Unfinished.open(folder / "calls", clock=lambda: NOW)
    assert found is not None
    return found


def begun(book: Unfinished, told: ToldCall = CALL) -> Entry:
    """A call that began."""
    entry = book.begun(told, instance_id="ai-1", reserved_nano_usd=5)
    assert entry is not None
    return entry


def left(folder: Path) -> list[ToldCall]:
    """What a process that begins finds."""
    known: dict[str, Instance] = {"ai-1": WHO}
    return list(opened(folder).left(known.get))


KILLED = replace(
    CALL,
    instance=WHO,
    ended_unix_nano=NOW,
    error_type="gateway_killed",
    attempts=1,
    failed_attempts=1,
    cost_nano_usd=5,
)


def test_a_call_of_which_nothing_had_passed_has_no_usage(tmp_path: Path) -> None:
    """And costs what was reserved for it."""
    begun(opened(tmp_path))
    assert [KILLED] == left(tmp_path)


def test_what_had_passed_was_counted(tmp_path: Path) -> None:
    """With the input, where the provider had told it, and what was reserved by then."""
    begun(opened(tmp_path)).passed(Usage(input_tokens=100, output_tokens=3), 9)
    expected = replace(KILLED, usage=Usage(input_tokens=100, output_tokens=3), cost_nano_usd=9)
    assert [expected] == left(tmp_path)


def test_a_call_that_had_gone_on_elsewhere_is_told_so(tmp_path: Path) -> None:
    """By the decision that let it go there."""
    entry = begun(opened(tmp_path))
    entry.moved(decision_id="dec-2", provider="azure", request_model="gpt-5-mini", reserved_nano_usd=2)
    elsewhere = replace(KILLED, provider="azure", request_model="gpt-5-mini", routed_from_model="gpt-5")
    expected = replace(elsewhere, decision_id="dec-2", cost_nano_usd=2, attempts=2, failed_attempts=2)
    assert [expected] == left(tmp_path)


def test_a_call_that_was_over_and_not_sent_is_told_as_it_ended(tmp_path: Path) -> None:
    """It waited for its turn when the process was killed."""
    over = replace(CALL, ended_unix_nano=950, usage=Usage(output_tokens=7, source="reported"), attempts=1, model="m")
    begun(opened(tmp_path)).over(over)
    assert [replace(over, instance=WHO, finish_reasons=[], skipped=[])] == left(tmp_path)


def test_what_the_store_has_is_not_told_again(tmp_path: Path) -> None:
    """Nor is what a process before the last one had left."""
    book = opened(tmp_path)
    begun(book).over(CALL)
    book.sent([CALL.trace.span_id], well=True)
    begun(book, replace(CALL, trace=replace(CALL.trace, span_id=2)))
    again = opened(tmp_path)
    assert [2] == [one.trace.span_id for one in again.left(lambda _: None)]
    again.sent([2], well=True)
    assert [] == left(tmp_path)


def test_what_could_not_be_sent_stays_until_its_place_is_needed(tmp_path: Path) -> None:
    """Calls that run come before calls that are over."""
    book = opened(tmp_path)
    begun(book).over(CALL)
    book.sent([CALL.trace.span_id], well=False)
    assert 1 == len(left(tmp_path))
    for number in range(PLACES):
        begun(book, replace(CALL, trace=replace(CALL.trace, span_id=number + 1)))
    assert book.begun(CALL, instance_id="ai-1", reserved_nano_usd=0) is None


@pytest.mark.parametrize("content", [b"", b"something else", b"headgate calls 1"])
def test_a_file_that_is_none_is_made_anew(tmp_path: Path, content: bytes) -> None:
    """There is nothing in it."""
    (tmp_path / "calls").write_bytes(content)
    assert [] == left(tmp_path)


def test_a_folder_that_cannot_be_written_costs_only_what_it_is_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The gateway runs without."""
    (tmp_path / "file").write_text("")
    assert Unfinished.open(tmp_path / "file" / "calls") is None
    assert "calls that run when this gateway is killed will not be told" in caplog.text


class _Gone(SpanExporter):
    """Takes spans until it is told that the store is away."""

    def __init__(self) -> None:
        self.result = SpanExportResult.SUCCESS

    def export(self, spans: Any) -> SpanExportResult:
        return self.result


@pytest.mark.parametrize("result", list(SpanExportResult))
def test_a_place_is_free_when_the_store_has_the_span(tmp_path: Path, result: SpanExportResult) -> None:
    """What it does not take, the next process tells."""
    book, exporter = opened(tmp_path), _Gone()
    exporter.result = result
    telling = Telling(exporter, InMemoryLogRecordExporter(), unfinished=book)
    begun(book).over(CALL)
    telling.call(CALL)
    telling.close()
    assert (0 if result is SpanExportResult.SUCCESS else 1) == len(left(tmp_path))


@pytest.mark.parametrize(("steps", "was_killed"), [([], False), ([None], True), ([True], False), ([True, None], True)])
def test_the_next_process_knows_whether_the_one_before_it_was_killed(
    tmp_path: Path, steps: list[bool | None], was_killed: bool
) -> None:
    """Or could not tell all its decisions."""
    for well in steps:
        book = opened(tmp_path)
        list(book.left(lambda _: None))
        if well is not None:
            book.close(well=well)
    assert was_killed == opened(tmp_path).was_killed


@pytest.mark.parametrize("written", [b'{"newer":1,', b"{{{{{{{{{{{"], ids=["of another version", "half of it"])
def test_a_place_that_cannot_be_read_is_free_and_hinders_no_start(tmp_path: Path, written: bytes) -> None:
    """The other calls are told."""
    book = opened(tmp_path)
    begun(book)
    begun(book, replace(CALL, trace=replace(CALL.trace, span_id=2)))
    file = tmp_path / "calls"
    content = file.read_bytes()
    place = content.index(b'{"trace":')
    length = content[place:].index(b"}") + 1
    said = (written + content[place + 1 : place + length]).replace(b',"retry_count":1', b"").ljust(length)
    file.write_bytes(content[:place] + said[:length] + content[place + length :])
    assert [2] == [one.trace.span_id for one in left(tmp_path)]


def test_what_was_killed_is_still_to_be_told_after_a_start_that_failed(tmp_path: Path) -> None:
    """It found its port taken, or its folder, and has told nothing."""
    opened(tmp_path)
    opened(tmp_path).close(well=True)
    assert opened(tmp_path).was_killed


class _Heard(Silent):
    """Keeps what it is told again."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []

    def again(self, row: Mapping[str, Any], instance: Instance | None) -> None:
        self.rows.append(row)


@pytest.mark.parametrize("well", [True, False])
def test_the_last_decisions_are_told_again_after_a_kill(tmp_path: Path, well: bool) -> None:
    """Those of the last minute before it, in their order."""
    rows = [
        {"kind": "decision", "decision_id": f"dec-{at_s}", "time_unix_nano": at_s * SECOND} for at_s in (1, 100, 150)
    ]
    with closing(AuditLog.open(tmp_path / "log", "eu-1")) as log:
        for row in rows:
            log.append(row)
    opened(tmp_path).close(well=well)
    heard = _Heard()
    tell_left(heard, opened(tmp_path), {}, folder=tmp_path / "log", writer="eu-1")
    assert ([] if well else rows[1:]) == heard.rows
