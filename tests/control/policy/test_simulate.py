"""A draft on recorded calls: each is decided as a live one, and what stood in the way is counted."""

import json
from decimal import Decimal
from typing import Any

import pytest

from headgate_control.identity.directory import Directory
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.history import recorded
from headgate_control.policy.simulate import Granted, Report, Simulation

ALL = '@id("all") permit(principal, action, resource);'
WHO = {
    "instance_id": "unk-1",
    "identity_source": "unknown",
    "team": "payments",
    "workflow": "fix",
    "start_time_unix_nano": 5,
}


def model(session: str = "s1", **changed: Any) -> dict[str, Any]:
    """A model call's row."""
    row = {"kind": "model_call", "call_id": "m", "session_id": session, **WHO, "provider": "openai"}
    tokens = {"request_model": "gpt-5", "input_tokens": 10, "output_tokens": 5, "cost_usd": Decimal("0.25")}
    return {**row, **tokens, "success": None, **changed}


def tool(name: str, session: str = "s1", **changed: Any) -> dict[str, Any]:
    """A tool call's row."""
    row = {"kind": "tool_call", "call_id": "t", "session_id": session, **WHO, "tool": name, "arguments": "{}"}
    return {**row, "success": None, **changed}


def simulated(
    policies: str, *rows: dict[str, Any], granted: Granted | None = None, directory: Directory | None = None
) -> Report:
    """What becomes of rows."""
    engine = PolicyEngine(bundle_of({"a.cedar": policies}))
    numbered = [{**row, "call_id": f"{row['call_id']}{place}"} for place, row in enumerate(rows)]
    return Simulation(engine, granted or (lambda _: None), directory).run(map(recorded, numbered))


def test_calls_are_decided_by_what_the_directory_knows_now() -> None:
    """Of the repository that their record names."""
    policy = '@id("no") forbid(principal, action, resource) when { principal has repo.sensitivity };'
    known = Directory().after([("repo", "acme/calc", {"sensitivity": "restricted"})])
    report = simulated(ALL + policy, model(repo="acme/calc"), model(repo="acme/web", instance_id="b"), directory=known)
    assert 1 == report.denied


def test_what_would_be_denied_is_counted_by_cause() -> None:
    """With the sessions it met, how they ended, and what the calls cost."""
    policies = ALL + '@id("no-gpt") forbid(principal, action, resource == Headgate::Model::"openai/gpt-5");'
    report = simulated(policies, model(success=True), model(), model("s2", success=False), tool("read", "s3"))
    assert (4, 3, 3, 2) == (report.calls, report.denied, len(report.sessions), len(report.denied_sessions))
    assert [
        {
            "effect": "deny",
            "code": "policy",
            "by": "no-gpt",
            "calls": 3,
            "model_calls": 3,
            "tool_calls": 0,
            "sessions": 2,
            "sessions_succeeded": 0,
            "sessions_failed": 1,
            "sessions_unresolved": 1,
            "nano_usd": 750_000_000,
            "calls_unpriced": 0,
            "example": "model_call m0: openai/gpt-5",
        }
    ] == list(report.rows())


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (tool("Bash", action="command", arguments='{"command": "ls"}'), [("tools/call", "Bash"), ("proc.exec", "ls")]),
        (tool("run_tests", action="command", resource="a.py"), [("tools/call", "run_tests")]),
        (
            tool("exec_command", action="file_read", resource="a.py", arguments='{"cmd": "cat a.py"}'),
            [("tools/call", "exec_command"), ("proc.exec", "cat a.py")],
        ),
        (tool("Read", action="file_read", resource="/w/a.py"), [("tools/call", "Read"), ("file.read", "/w/a.py")]),
        (tool("Read", action="file_read", resource="a and 3 more"), [("tools/call", "Read")]),
        (tool("read", action="file_read", resource="a", mcp_server="files"), [("tools/call", "read")]),
        (
            tool("WebFetch", action="network", arguments='{"url": "https://x.org/y"}'),
            [("tools/call", "WebFetch"), ("net.connect", "x.org:443")],
        ),
        (model(request_model=None, model="gpt-5.1"), [("model.call", "openai/gpt-5.1")]),
    ],
)
def test_a_record_is_asked_for_as_far_as_it_says(row: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """What it does not say is asked for by nobody."""
    found = recorded(row)
    assert found is not None
    assert expected == [(request.action, request.resource.id) for request in found.requests]


def test_rows_that_name_nothing_are_counted_apart() -> None:
    """They are no calls that anybody could have asked for."""
    report = simulated(ALL, model(provider=None), tool(""), tool("x", arguments=None), model(cost_usd=None))
    assert (2, 2, 1, 1) == (report.calls, report.unreadable, report.without_arguments, report.unpriced)


def test_policies_see_what_the_session_had_done_until_then() -> None:
    """As a gateway counts it: a denied call is counted too, for it was made."""
    policy = '@id("few") forbid(principal, action, resource) when { context.session.tool_calls >= 2 };'
    report = simulated(ALL + policy, *(tool("x") for _ in range(4)), tool("x", "s2"))
    assert (2, {"s1"}) == (report.denied, report.denied_sessions)


def test_policies_see_what_was_taken_out_of_arguments() -> None:
    """By its class."""
    policy = '@id("no-mail") forbid(principal, action, resource) when { context.content_classes.contains("email") };'
    arguments = json.dumps({"to": "[REDACTED:email]"})
    report = simulated(ALL + policy, tool("send", arguments=arguments), tool("send"))
    assert 1 == report.denied


def test_manifests_and_their_budgets_hold() -> None:
    """What is over the budget is denied and spends nothing; who has no manifest may do all, and is counted."""
    text = (
        "apiVersion: headgate.dev/v1\nkind: AgentManifest\nmetadata: {name: fixer}\n"
        "spec: {models: [{provider: openai, model: '*'}], budgets: [{usd: 0.60}]}"
    )
    grant = parse_manifest(text, {}, source="manifest")
    own = lambda call: grant if call.session_id == "s1" else None  # noqa: E731
    report = simulated(ALL, model(), model(), model(), model("s2"), tool("read"), granted=own)
    assert [("budget", 1), ("manifest", 1)] == sorted((row["code"], row["calls"]) for row in report.rows())
    assert (2, {"session-s2"}) == (len(report.instances), report.ungranted)
