"""How a tool call ended, from every sign of it."""

from typing import Any

import pytest

from headgate_processors.dialects.outcome import Signs, error_type_of, exit_code_in, outcome


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ({}, None),
        ({"status": "OK"}, "ok"),
        ({"success": True}, "ok"),
        ({"success": "true"}, "ok"),
        ({"exit_code": 0}, "ok"),
        ({"result": "done"}, "ok"),
        ({"result": 0}, "ok"),
        ({"status": "ERROR"}, "error"),
        ({"success": False}, "error"),
        ({"success": "failed"}, "error"),
        ({"error_type": "KeyError"}, "error"),
        ({"exit_code": 2}, "error"),
        ({"exit_code": -9}, "error"),
        ({"result": "Error: no such file"}, "error"),
        ({"result": "Traceback (most recent call last):\n"}, "error"),
        ({"result": "ValueError: bad"}, "error"),
        ({"result": '{"isError": true, "content": []}'}, "error"),
        ({"result": {"is_error": "true"}}, "error"),
        ({"result": {"status": "failed"}}, "error"),
        ({"result": {"success": False}}, "error"),
        ({"result": {"error": "no"}}, "error"),
        ({"result": {"error": None, "result": "yes"}}, "ok"),
        ({"result": {"error": "warned", "result": "yes"}}, "ok"),
        ({"result": {"output": {"data": {"status": "error"}}}}, "error"),
        ({"result": "No error was found"}, "ok"),
        ({"result": ""}, "empty"),
        ({"result": []}, "empty"),
        ({"result": {}}, "empty"),
        ({"status": "ERROR", "status_message": "timed out after 30 s"}, "timeout"),
        ({"error_type": "DeadlineExceeded"}, "timeout"),
        ({"error_type": "CancelledError"}, "cancelled"),
        ({"success": False, "status_message": "interrupted"}, "cancelled"),
        ({"success": False, "status_message": "rejected by user"}, "denied"),
        ({"error_type": "policy_violation"}, "denied"),
        ({"decision": "deny"}, "denied"),
        ({"decision": "allow"}, None),
    ],
    ids=str,
)
def test_each_sign_tells_an_outcome(signs: dict[str, Any], expected: str | None) -> None:
    """One sign alone is enough; none leaves it unknown."""
    assert expected == outcome(Signs(**signs))


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ({"decision": "deny", "success": True, "result": "done"}, "denied"),
        ({"success": True, "exit_code": 2}, "error"),
        ({"status": "OK", "exit_code": 1}, "error"),
        ({"success": False, "exit_code": 0}, "error"),
        ({"status": "ERROR", "exit_code": 0}, "error"),
        ({"status": "OK", "result": "Error: no"}, "error"),
        ({"status": "OK", "result": "content='it broke' name='run' tool_call_id='c1' status='error'"}, "error"),
        ({"exit_code": 0, "result": "Error: 0 found"}, "ok"),
        ({"status": "OK", "result": ""}, "empty"),
        ({"success": False, "result": ""}, "error"),
    ],
    ids=str,
)
def test_failure_outweighs_success(signs: dict[str, Any], expected: str) -> None:
    """A source that says success beside a sign of failure is not believed; an exit code outweighs the text."""
    assert expected == outcome(Signs(**signs))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ('{"exit_code": 3}', 3),
        ({"exitCode": "4"}, 4),
        ({"returncode": -1}, -1),
        ({"output": '{"metadata": {}, "exit_code": 5}'}, 5),
        ({"output": "Process exited with code 2"}, 2),
        ({"content": "fine", "stdout": "exit code 9"}, None),
        ("Exit code: 1\nfailed", 1),
        ("command exited with status 127", 127),
        ("exited with 6", 6),
        ("exit status 0", 0),
        ("returned non-zero exit status 8.", 8),
        ('{"text": "returncode=11"}', 11),
        ("the exit is to the left", None),
        ("exit codes are numbers", None),
        ("3 exits", None),
        (["exit code 3"], None),
        (None, None),
        (7, None),
        ("x" * 70_000 + "exit code 3", None),
        ('{"output":' * 1000 + "1" + "}" * 1000, None),
    ],
)
def test_an_exit_code_is_found_as_a_key_or_in_text(result: object, expected: int | None) -> None:
    """Shells and wrappers say it in many words; the first 64 KiB are looked at, and few levels of nesting."""
    assert expected == exit_code_in(result)


@pytest.mark.parametrize(
    ("status", "attribute", "exception", "expected"),
    [
        ("UNSET", None, None, None),
        ("ERROR", None, None, "_OTHER"),
        ("ERROR", None, "ValueError", "ValueError"),
        ("ERROR", "429", "ValueError", "429"),
        ("UNSET", 500, None, "500"),
        ("OK", "timeout", None, "timeout"),
    ],
)
def test_the_error_type_is_what_names_it_best(
    status: str, attribute: object, exception: object, expected: str | None
) -> None:
    """The attribute, else the exception, else that it was an error."""
    assert expected == error_type_of(status, attribute, exception)
