"""AuthZEN on the wire, and the hook of Claude Code: what is asked, and what is no question."""

import pytest

from headgate_control.decide.decision import Decision
from headgate_control.request import Request, Resource, Subject
from headgate_control.server.claude_code import answer, parse_hook
from headgate_control.server.wire import Evaluations, WireError, parse_evaluation, parse_evaluations

WHO = Subject(type="agent_instance", id="ai-1")
ASKED = {
    "subject": {"type": "agent_instance", "id": "ai-1"},
    "action": {"name": "tools/call"},
    "resource": {"type": "tool", "id": "merge", "properties": {"server": "github"}},
    "context": {"input": {"number": 5}},
}


def hook(tool: str, *, cwd: str | None = "/work", **given: object) -> list[tuple[str, str, str | None]]:
    """What a tool call of Claude Code asks for."""
    body = {"hook_event_name": "PreToolUse", "tool_name": tool, "tool_input": given, "cwd": cwd, "session_id": "s1"}
    return [(one.action, one.resource.id, one.resource.text("server")) for one in parse_hook(body, WHO)]


def test_an_evaluation_is_a_request() -> None:
    """In AuthZEN's words; what it says beside them is left alone."""
    assert Request(
        subject=WHO,
        action="tools/call",
        resource=Resource(type="tool", id="merge", properties={"server": "github"}),
        context={"input": {"number": 5}},
    ) == parse_evaluation({**ASKED, "newer": 1, "action": {"name": "tools/call", "properties": None}})


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({"type": "tool", "id": "github/merge"}, ("merge", "github", "github/merge")),
        (
            {"type": "tool", "id": "github/merge", "properties": {"server": "github"}},
            ("merge", "github", "github/merge"),
        ),
        ({"type": "tool", "id": "a/b", "properties": {"server": "github"}}, ("a/b", "github", "github/a/b")),
        ({"type": "tool", "id": "a/b", "properties": {"server": None}}, ("a/b", None, "a/b")),
        ({"type": "tool", "id": "/merge"}, ("/merge", None, "/merge")),
        ({"type": "function", "id": "github/merge"}, ("merge", "github", "github/merge")),
    ],
)
def test_a_tool_of_a_server_may_be_named_in_one_piece(
    resource: dict[str, object], expected: tuple[str, str | None, str]
) -> None:
    """As stops name it; a tool of the agent's own with a slash in its name says that it has no server."""
    found = parse_evaluation({**ASKED, "resource": resource})
    model = parse_evaluation({**ASKED, "resource": resource, "action": {"name": "model.call"}})
    assert resource["id"] == model.resource.id
    assert expected == (found.resource.id, found.resource.text("server"), found.named)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([], "the body: expected an object"),
        ({}, "subject: expected an object"),
        ({**ASKED, "subject": {"type": "x"}}, "subject.id: expected text"),
        ({**ASKED, "subject": {"type": "x", "id": 5}}, "subject.id: expected text"),
        ({**ASKED, "action": {"name": "fly"}}, "action.name: 'fly' is none of model.call, model.list"),
        ({**ASKED, "resource": {"type": "tool", "id": "x" * 4_097}}, "resource.id: expected text of 1 to 4096"),
        ({**ASKED, "context": 5}, "context: expected an object"),
        ({**ASKED, "action": {"name": "tools/call", "properties": "x"}}, "action.properties: expected an object"),
        ({**ASKED, "resource": {"type": "tool", "id": "x", "properties": []}}, "resource.properties: expected an obj"),
    ],
)
def test_what_is_no_question_is_refused(body: object, expected: str) -> None:
    """With its place."""
    with pytest.raises(WireError, match=expected):
        parse_evaluation(body)


def test_several_questions_share_what_they_leave_out() -> None:
    """And say how they are taken."""
    other = {"resource": {"type": "tool", "id": "search"}}
    found = parse_evaluations(
        {**ASKED, "evaluations": [{}, other], "options": {"evaluations_semantic": "deny_on_first_deny"}}
    )
    assert isinstance(found, Evaluations)
    named = [one.resource.id if isinstance(one, Request) else one for one in found.requests]
    assert (["merge", "search"], "deny_on_first_deny") == (named, found.semantic)
    for body in (ASKED, {**ASKED, "evaluations": []}, {**ASKED, "evaluations": None}):
        assert parse_evaluation(ASKED) == parse_evaluations(body)


def test_a_part_of_one_question_is_whole_and_may_leave_its_name_to_all() -> None:
    """Its properties are its own: those of the whole are of another resource."""
    shared = {**ASKED, "resource": {"type": "tool", "properties": {"server": "github"}}}
    found = parse_evaluations(
        {**shared, "evaluations": [{"resource": {"id": "search"}}, {"resource": {"type": "tool"}}]}
    )
    assert isinstance(found, Evaluations)
    first, second = found.requests
    assert isinstance(first, Request)
    assert (Resource(type="tool", id="search"), "resource.id: expected text of 1 to 4096 characters") == (
        first.resource,
        str(second),
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({**ASKED, "evaluations": [{}] * 201}, "201 of them; 200 are allowed"),
        ({**ASKED, "evaluations": [5]}, r"evaluations\[0\]: expected an object"),
        ({**ASKED, "evaluations": 5}, "evaluations: expected a list"),
        ({**ASKED, "evaluations": [{}], "options": {"evaluations_semantic": "all"}}, "expected one of execute_all"),
    ],
)
def test_what_are_no_questions_is_refused(body: object, expected: str) -> None:
    """With its place."""
    with pytest.raises(WireError, match=expected):
        parse_evaluations(body)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (hook("mcp__github__create_issue", title="x"), [("tools/call", "create_issue", "github")]),
        (hook("mcp__odd"), [("tools/call", "mcp__odd", None)]),
        (
            hook("Bash", command="pytest -q"),
            [("tools/call", "Bash", None), ("proc.exec", "pytest -q", None)],
        ),
        (hook("Bash"), [("tools/call", "Bash", None), ("proc.exec", "", None)]),
        (
            hook("Edit", file_path="/work/src/a.py"),
            [("tools/call", "Edit", None), ("file.write", "./src/a.py", None)],
        ),
        (
            hook("Read", file_path="/workshop/a.py"),
            [("tools/call", "Read", None), ("file.read", "/workshop/a.py", None)],
        ),
        (hook("Grep", pattern="x"), [("tools/call", "Grep", None), ("file.read", ".", None)]),
        (
            hook("WebFetch", url="https://example.com/x"),
            [("tools/call", "WebFetch", None), ("net.connect", "example.com:443", None)],
        ),
        (hook("WebFetch", url="https://[bad"), [("tools/call", "WebFetch", None), ("net.connect", "", None)]),
        (hook("Glob", pattern="**/*.py"), [("tools/call", "Glob", None), ("file.read", ".", None)]),
        (
            hook("Glob", pattern="src/*.py", path="/work/a"),
            [("tools/call", "Glob", None), ("file.read", "./a/src", None)],
        ),
        (hook("Glob", pattern="/etc/*"), [("tools/call", "Glob", None), ("file.read", "/etc", None)]),
        (hook("Glob", pattern="/*"), [("tools/call", "Glob", None), ("file.read", "/", None)]),
        (hook("Glob", pattern="../*"), [("tools/call", "Glob", None), ("file.read", "./..", None)]),
        (hook("Glob", pattern="*/../../x"), [("tools/call", "Glob", None), ("file.read", "", None)]),
        (hook("Read", file_path="~/.ssh/id"), [("tools/call", "Read", None), ("file.read", "/~/.ssh/id", None)]),
        (hook("Monitor", command="make"), [("tools/call", "Monitor", None), ("proc.exec", "make", None)]),
        (hook("Draw", file_path="/work/a"), [("tools/call", "Draw", None), ("file.write", "./a", None)]),
        (hook("Browse", url="http://x.org"), [("tools/call", "Browse", None), ("net.connect", "x.org:80", None)]),
        (hook("mcp__sh__run", command="make"), [("tools/call", "run", "sh")]),
        (hook("TodoWrite", todos=[]), [("tools/call", "TodoWrite", None)]),
    ],
)
def test_a_tool_call_asks_for_all_that_it_does(
    told: list[tuple[str, str, str | None]], expected: list[tuple[str, str, str | None]]
) -> None:
    """The tool, and the command, file or host behind it; what is missing is asked for as nothing."""
    assert expected == told


@pytest.mark.parametrize(
    "body",
    [5, {}, {"hook_event_name": "PostToolUse"}, {"hook_event_name": "PreToolUse", "tool_name": "", "tool_input": {}}],
)
def test_another_hook_is_refused(body: object) -> None:
    """It would be answered with what it does not mean."""
    with pytest.raises(WireError):
        parse_hook(body, WHO)


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Decision(effect="allow", reason="fine"), ("allow", "fine", None)),
        (Decision(effect="require_approval", code="approval", reason="ask ada"), ("ask", "ask ada", None)),
        (Decision(effect="deny", code="policy", reason="no"), ("deny", "no", None)),
        (Decision(effect="deny", code="stopped", reason="it loops"), ("deny", "it loops", False)),
    ],
)
def test_the_hook_is_answered_in_its_own_words(decision: Decision, expected: tuple[str, str, bool | None]) -> None:
    """A stop ends the turn beside the deny, for alone it would let the tool run."""
    said = answer([Decision(effect="allow", reason="first"), decision])
    output = said["hookSpecificOutput"]
    reason = "first" if decision.allowed else expected[1]
    assert (expected[0], reason, expected[2]) == (
        output["permissionDecision"],
        output["permissionDecisionReason"],
        said.get("continue"),
    )
