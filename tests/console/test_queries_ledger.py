"""The ledger and its filters."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from headgate_console.queries.ledger import LedgerFilter, ledger

START = 1_763_000_000_000_000_000
ID = "3f9c1c0b" + "0" * 24


@pytest.fixture
def calls(views: Any, entry: Callable[..., dict[str, Any]]) -> Any:
    """Three tool calls, one of them told in words by the timeline."""
    told = entry(1, "file_write", "wrote `calc.py`", at_s=0) | {"ref_view": "tool_calls", "ref_id": "t1"}
    call = {"session_id": ID, "state": "executed", "tool_type": "function", "result_class": "ok", "team": "payments"}
    return views(
        {
            "timeline": [told],
            "tool_calls": [
                {**call, "tool_call_id": "t1", "tool": "edit", "action": "file_write", "start_time_unix_nano": START},
                {
                    **call,
                    "tool_call_id": "t2",
                    "tool": "bash",
                    "action": "command",
                    "result_class": "error",
                    "arguments": '{"command":"cat SECRETS"}',
                    "start_time_unix_nano": START + 10**9,
                },
                {
                    **call,
                    "tool_call_id": "t3",
                    "tool": "edit",
                    "session_id": "s2",
                    "start_time_unix_nano": START - 10**9,
                },
            ],
        }
    )


def test_calls_are_listed_in_order_with_words(calls: Any) -> None:
    """Oldest first, in the timeline's words where it has some, else by the tool's name."""
    assert ["edit", "wrote `calc.py`", "bash"] == [row["title"] for row in ledger(calls, LedgerFilter())]


def test_a_limit_keeps_the_last_calls(calls: Any) -> None:
    """Of too many the newest are kept, still oldest first."""
    assert ["t1", "t2"] == [row["tool_call_id"] for row in ledger(calls, LedgerFilter(limit=2))]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (LedgerFilter(session_id="s2"), ["t3"]),
        (LedgerFilter(tool="bash"), ["t2"]),
        (LedgerFilter(action="file_write"), ["t1"]),
        (LedgerFilter(result="error"), ["t2"]),
        (LedgerFilter(team="payments", tool="edit"), ["t3", "t1"]),
        (LedgerFilter(search="secrets"), ["t2"]),
        (LedgerFilter(search="CALC"), ["t1"]),
        (LedgerFilter(since=datetime.fromtimestamp(START / 1e9, UTC)), ["t1", "t2"]),
    ],
)
def test_filters_narrow_the_ledger(calls: Any, wanted: LedgerFilter, expected: list[str]) -> None:
    """Each filter keeps only what matches; a search looks in arguments and words, in any case."""
    assert expected == [row["tool_call_id"] for row in ledger(calls, wanted)]
