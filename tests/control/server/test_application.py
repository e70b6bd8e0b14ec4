"""Control over HTTP, by a real server and a real client."""

import asyncio
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import orjson
import pytest

from headgate_control.budgets.amount import Limits
from headgate_control.budgets.budget import Budget
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine, PolicyFacts, SessionFacts
from headgate_control.stops.commands import stop

NOW = 1_000
POLICIES = """
@id("all") permit(principal, action, resource);
@id("no-delete") @reason("nothing is deleted") forbid(principal, action, resource == Headgate::Tool::"github/delete");
"""


@pytest.mark.parametrize(
    ("tool", "expected"),
    [("search", (True, "allow", 200)), ("merge", (False, "require_approval", 403)), ("delete", (False, "deny", 403))],
)
def test_an_evaluation_and_a_check_say_the_same(site: Any, tool: str, expected: tuple[bool, str, int]) -> None:
    """One in its body, the other in its status too."""
    status, answer = site.ask("/access/v1/evaluation", site.question(tool))
    checked, same = site.ask("/access/v1/check", site.question(tool))
    assert (200, expected) == (status, (answer["decision"], answer["context"]["effect"], checked))
    assert answer["context"]["reason"] == same["context"]["reason"]


@pytest.mark.parametrize(
    ("semantic", "expected"),
    [
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_several_evaluations_end_where_they_are_to(site: Any, semantic: str, expected: list[bool]) -> None:
    """In their order."""
    listed = [{"resource": site.question(tool)["resource"]} for tool in ("search", "delete", "read")]
    body = {**site.question("x"), "evaluations": listed, "options": {"evaluations_semantic": semantic}}
    _, answer = site.ask("/access/v1/evaluations", body)
    assert expected == [one["decision"] for one in answer["evaluations"]]


def test_one_of_several_that_is_no_question_is_denied_and_the_others_answered(site: Any) -> None:
    """In its place, with what is wrong with it; whoever asks about somebody else hears that alone."""
    others = [{}, {"resource": 5}, {"subject": {"type": "agent_instance", "id": "ai-2"}}]
    body = {**site.question("search"), "evaluations": others}
    status, answer = site.ask("/access/v1/evaluations", body, token=site.key)
    assert (200, [True, False, False]) == (status, [one["decision"] for one in answer["evaluations"]])
    errors = [one["context"]["error"] for one in answer["evaluations"][1:]]
    assert [
        {"status": 400, "message": "resource: expected an object"},
        {"status": 403, "message": "an agent may ask about itself alone"},
    ] == errors
    body["options"] = {"evaluations_semantic": "deny_on_first_deny"}
    assert 2 == len(site.ask("/access/v1/evaluations", body, token=site.key)[1]["evaluations"])


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/access/v1/evaluation", "gateway-token", 200),
        ("/access/v1/check", "gateway-token", 200),
        ("/access/v1/search/action", "gateway-token", 200),
        ("/access/v1/evaluation", "guess", 401),
        ("/access/v1/nowhere", "gateway-token", 404),
    ],
)
def test_the_id_of_a_request_comes_back(site: Any, path: str, token: str, status: int) -> None:
    """Whatever the answer is."""
    found, headers, _ = site.heard(path, site.question("search"), token=token, x_request_id="bfe9eb29 é")
    assert (status, "bfe9eb29 é", "application/json") == (found, headers["x-request-id"], headers["content-type"])


def test_a_request_without_an_id_gets_none(site: Any) -> None:
    """It is the caller's to give."""
    assert "x-request-id" not in site.heard("/access/v1/evaluation", site.question("search"))[1]


@pytest.mark.parametrize("path", ["/access/v1/evaluation", "/access/v1/evaluations", "/access/v1/search/action"])
def test_a_body_that_does_not_say_it_is_json_is_refused(site: Any, path: str) -> None:
    """As AuthZEN wants it; a proxy that checks need not say so, and whoever says more than that is heard."""
    body = site.question("search")
    status, _, answer = site.heard(path, body, content_type="text/plain")
    checked, _, _ = site.heard("/access/v1/check", body, content_type="text/plain")
    more, _, _ = site.heard(path, body, content_type="application/json; charset=utf-8")
    assert (400, "content-type: expected application/json, not text/plain", 200, 200) == (
        status,
        answer["error"],
        checked,
        more,
    )


def test_only_an_instance_is_decided_about(site: Any) -> None:
    """A user of the same name is somebody else."""
    body = {**site.question("search"), "subject": {"type": "user", "id": site.instance}}
    status, answer = site.ask("/access/v1/evaluation", body)
    found = site.ask("/access/v1/search/action", {**body, "action": {}})[1]["results"]
    assert (200, False, "identity", []) == (status, answer["decision"], answer["context"]["code"], found)


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [(None, r"http://127\.0\.0\.1:[1-9][0-9]*"), ("https://pdp.example.com/", r"https://pdp\.example\.com")],
)
def test_the_metadata_is_of_the_listener_or_the_address_that_was_set(
    site: Any, public_url: str | None, expected: str
) -> None:
    """Never of the host that whoever asks has named; it may be kept for a moment."""
    site.server = replace(site.server, public_url=public_url)
    path = "/.well-known/authzen-configuration"
    status, headers, found = site.heard(path, b"", method="GET", host="evil.example.com")
    assert (200, "max-age=60") == (status, headers["cache-control"])
    assert re.fullmatch(expected, found["policy_decision_point"])
    assert f"{found['policy_decision_point']}/access/v1/evaluation" == found["access_evaluation_endpoint"]


@pytest.mark.parametrize("evaluations", [[], [{}], [{}, {}]])
def test_an_action_that_nobody_knows_is_denied(site: Any, evaluations: list[dict[str, Any]]) -> None:
    """Alone and among several, as a decision and no fault of the request."""
    body = {**site.question("search"), "action": {"name": "fly"}}
    alone = site.ask("/access/v1/evaluation", body)
    status, answer = site.ask("/access/v1/evaluations", {**body, "evaluations": evaluations})
    assert (200, False) == (alone[0], alone[1]["decision"])
    assert "'fly' is none of model.call" in alone[1]["context"]["error"]["message"]
    assert (200, [False] * max(1, len(evaluations))) == (
        status,
        [one["decision"] for one in answer.get("evaluations", [answer])],
    )


BUDGET = Budget(budget_id="b", place=("team", "payments"), window="total", limits=Limits(nano_usd=10**9))
PAID = {"cost_est": 0.25}


@pytest.mark.parametrize(
    ("spent_usd", "context", "expected"),
    [
        ("0.75", PAID, (True, None, [])),
        ("0.76", PAID, (False, "budget", [])),
        ("1", {}, (False, "budget", [])),
        ("1", {"cost_est": "0"}, (True, None, [])),
        ("0.99", {}, (True, None, [])),
    ],
)
def test_a_spent_budget_denies_who_asks_over_http(
    site: Any, spent_usd: str, context: dict[str, object], expected: tuple[object, ...]
) -> None:
    """By what a request says that it costs; of one that says nothing, as soon as nothing is left."""
    site.spend(BUDGET, spent_usd)
    _, answer = site.ask("/access/v1/evaluation", {**site.question("search"), "context": context})
    told = answer["context"]
    assert expected == (answer["decision"], told.get("code"), told.get("warnings", []))


def test_a_soft_budget_warns_who_asks_over_http(site: Any) -> None:
    """In the answer, in a header of a check, and in the row."""
    site.spend(replace(BUDGET, mode="soft"), "0.9")
    body = {**site.question("search"), "context": PAID}
    _, headers, answer = site.heard("/access/v1/check", body)
    warning = "soft budget of team payments (total): $0.25 wanted, $0.10 left of $1.00"
    (row,) = [orjson.loads(line)["body"] for line in next(site.decisions.glob("*.jsonl")).read_bytes().splitlines()]
    assert (True, [warning], warning, [warning]) == (
        answer["decision"],
        answer["context"]["warnings"],
        headers["x-headgate-warning"],
        row["warnings"],
    )


@pytest.mark.parametrize("context", [{"cost_est": -1}, {"cost_est": "much"}, {"cost_est": True}, {"tokens_est": 0.5}])
def test_an_estimate_that_is_no_number_is_refused(site: Any, context: dict[str, object]) -> None:
    """By its name."""
    status, answer = site.ask("/access/v1/evaluation", {**site.question("search"), "context": context})
    assert status == 400
    assert answer["error"].startswith(f"context.{next(iter(context))}: expected")


def test_a_stop_denies_at_once(site: Any) -> None:
    """With its epoch on the answer."""
    stop(site.store, ("team", "payments"), mode="stop", author="ada", reason="fire")
    site.state.refresh()
    _, answer = site.ask("/access/v1/evaluation", site.question("search"))
    assert (False, "stopped", 1) == (
        answer["decision"],
        answer["context"]["code"],
        answer["context"]["snapshot"]["stop_epoch"],
    )


def test_what_may_be_done_can_be_searched(site: Any) -> None:
    """Nothing of it is a decision, and none is logged."""
    status, answer = site.ask("/access/v1/search/action", {**site.question("search"), "action": {}})
    assert (200, [{"name": "tools/call"}], 0) == (status, answer["results"], site.log.anchor().number)


@pytest.mark.parametrize("token", [None, "", "guess", "hgk_0000000000000000_00"])
def test_nobody_asks_without_a_credential(site: Any, token: str | None) -> None:
    """Nothing is decided, and nothing logged."""
    status, answer = site.ask("/access/v1/evaluation", site.question("search"), token=token)
    assert (401, 0) == (status, site.log.anchor().number)
    assert "show a token" in answer["error"]


def test_an_agent_asks_about_itself_alone(site: Any) -> None:
    """With its gateway key."""
    own, _ = site.ask("/access/v1/evaluation", site.question("search"), token=site.key)
    other, answer = site.ask("/access/v1/evaluation", site.question("search", instance="ai-2"), token=site.key)
    assert (200, 403, "an agent may ask about itself alone") == (own, other, answer["error"])


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [(b"{", 400, "the body is no JSON"), ({}, 400, "subject: expected an object"), (b" " * (1 << 20 | 1), 413, "")],
)
def test_a_bad_body_says_what_is_wrong(site: Any, body: object, status: int, expected: str) -> None:
    """As its sender's fault."""
    found, answer = site.ask("/access/v1/evaluation", body)
    assert status == found
    assert expected in answer["error"]


@pytest.mark.parametrize(
    ("tool", "given", "expected"),
    [
        ("Bash", {"command": "pytest -q"}, "allow"),
        ("Bash", {"command": "rm -rf /"}, "deny"),
        ("mcp__github__search", {}, "allow"),
        ("mcp__github__merge", {}, "ask"),
        ("mcp__github__delete", {}, "deny"),
        ("Read", {"file_path": "a"}, "deny"),
    ],
)
def test_the_hook_of_claude_code_is_answered(site: Any, tool: str, given: dict[str, str], expected: str) -> None:
    """By the agent's own key."""
    body = {"hook_event_name": "PreToolUse", "tool_name": tool, "tool_input": given, "session_id": "s1"}
    status, answer = site.ask("/hooks/claude-code", body, token=site.key)
    assert (200, expected) == (status, answer["hookSpecificOutput"]["permissionDecision"])


def test_a_hook_with_too_large_a_body_denies_without_a_word_in_the_log(
    site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is its sender's fault, and the tool may not run."""
    status, answer = site.ask("/hooks/claude-code", b" " * (3 << 20), token=site.key)
    told = answer["hookSpecificOutput"]
    assert (200, "deny", []) == (status, told["permissionDecision"], [one.message for one in caplog.records])
    assert "Request Entity Too Large" in told["permissionDecisionReason"]


@pytest.mark.parametrize(("token", "body"), [(None, {}), ("operator-token", {}), ("key", b"{"), ("key", {"x": 1})])
def test_a_hook_that_cannot_be_answered_denies_with_200(site: Any, token: str | None, body: object) -> None:
    """On any other status Claude Code would run the tool."""
    status, answer = site.ask("/hooks/claude-code", body, token=site.key if token == "key" else token)
    assert (200, "deny") == (status, answer["hookSpecificOutput"]["permissionDecision"])


POLICIES_OF_FACTS = (
    POLICIES
    + """
@id("tired") @reason("too many calls") forbid(principal, action, resource) when { context.session.tool_calls >= 2 };
"""
)


def test_what_control_knows_of_a_session_is_asked_for_on_every_wire(site: Any) -> None:
    """Of whoever and whatever session the request names; a tool that a hook lets run counts, a question does not."""
    called: Counter[object] = Counter()
    site.state.use_policy(PolicyEngine(bundle_of({"a.cedar": POLICIES_OF_FACTS})))
    site.server = replace(
        site.server,
        facts=lambda request, instance, moment: PolicyFacts(
            session=SessionFacts(tool_calls=called[instance.instance_id, moment.session])
        ),
        tool_called=lambda request: called.update([(request.subject.id, request.context["session"])]),
    )
    hook = {"hook_event_name": "PreToolUse", "tool_name": "mcp__github__search", "tool_input": {}, "session_id": "s1"}
    refused = {**hook, "tool_name": "mcp__github__delete"}
    body = {**site.question("search"), "context": {"session": "s1"}}
    hooked = [
        site.ask("/hooks/claude-code", one, token=site.key)[1]["hookSpecificOutput"]["permissionDecision"]
        for one in (hook, refused, hook, hook)
    ]
    checked = site.ask("/access/v1/check", body)[0]
    several = site.ask("/access/v1/evaluations", {**body, "evaluations": [{}, {"context": {"session": "s2"}}]})[1]
    searched = site.ask("/access/v1/search/action", {**body, "action": {}})[1]["results"]
    assert ["allow", "deny", "allow", "deny"] == hooked
    assert (403, [False, True], []) == (checked, [one["decision"] for one in several["evaluations"]], searched)


def test_a_stop_of_a_key_holds_on_controls_own_wires(site: Any) -> None:
    """Whoever shows it is denied here as at the gateways; the same instance by another way is not."""
    key_id = next(iter(site.state.now.keys))
    stop(site.store, ("identity", key_id), mode="stop", author="ada", reason="leaked")
    site.state.refresh()
    by_key = site.ask("/access/v1/evaluation", site.question("search"), token=site.key)[1]
    by_gateway = site.ask("/access/v1/evaluation", site.question("search"))[1]
    assert ("stopped", False) == (by_key["context"]["code"], by_key["decision"])
    assert by_gateway["decision"] is True


def test_the_log_keeps_no_command_and_no_name_that_is_none(site: Any) -> None:
    """A command line may hold secrets, and a session is text of bounded length; a digest tells one from another."""
    call = {
        "hook_event_name": "PreToolUse",
        "tool_name": "Bash",
        "tool_input": {"command": "curl -H 'authorization: Bearer sk-very-secret' https://example.com"},
        "session_id": {"a": ["long"] * 100},
    }
    site.ask("/hooks/claude-code", call, token=site.key)
    site.log.close()
    lines = b"".join(path.read_bytes() for path in sorted(site.decisions.glob("*.jsonl")))
    assert b"sk-very-secret" not in lines
    assert b"curl sha256:" in lines
    assert b"long" not in lines


def test_control_that_cannot_see_its_store_allows_nothing_with_effects(site: Any) -> None:
    """Decisions and hooks are denied as stale: stops may have been given that it has not heard of."""
    site.server = replace(site.server, is_stale=lambda: True)
    _, decided = site.ask("/access/v1/evaluation", site.question("list"))
    hook = {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": "pytest -q"}}
    _, hooked = site.ask("/hooks/claude-code", hook, token=site.key)
    said = hooked["hookSpecificOutput"]
    assert (False, "stale") == (decided["decision"], decided["context"]["code"])
    assert "deny" == said["permissionDecision"]
    assert "has not heard of stops" in said["permissionDecisionReason"]


def test_a_body_that_never_ends_is_waited_for_so_long(site: Any) -> None:
    """And whoever sends it hears so."""
    site.server = replace(site.server, body_s=0.05)
    lines = ("POST /access/v1/check HTTP/1.1", "host: x", "authorization: Bearer gateway-token", "content-length: 9")

    async def go() -> bytes:
        async with site.served() as address:
            reader, writer = await asyncio.open_connection(*address.removeprefix("http://").split(":"))
            writer.write("\r\n".join((*lines, "content-type: application/json", "", "{")).encode())
            async with asyncio.timeout(30):
                said = await reader.readuntil(b"}")
            writer.close()
            await writer.wait_closed()
            return said

    said = asyncio.run(go())
    assert (b"HTTP/1.1 408", True) == (said[:12], b"the body did not come within 0.05 seconds" in said)
