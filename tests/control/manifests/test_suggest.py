"""A manifest made of what was used: it is valid, grants all of that again, and hardly more."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from headgate_control.manifests.folders import FOLDERS_MAX, folders
from headgate_control.manifests.load import parse_manifest
from headgate_control.manifests.suggest import Suggestion, suggest
from headgate_control.manifests.used import used_by
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.history import recorded
from headgate_control.policy.simulate import Report, Simulation

ENGINE = PolicyEngine(bundle_of({"a.cedar": '@id("all") permit(principal, action, resource);'}))
WHO = {"team": "payments", "workflow": "fix", "instance_id": None, "start_time_unix_nano": 1}
Row = dict[str, Any]


def model(session: str, usd: str | None, name: str = "gpt-5", tokens: int = 10) -> Row:
    """A model call's row."""
    cost = Decimal(usd) if usd is not None else None
    row = {"kind": "model_call", "session_id": session, "provider": "openai", "request_model": name}
    return {**WHO, **row, "cost_usd": cost, "input_tokens": tokens, "output_tokens": 0}


def tool(session: str, name: str, *, server: str | None = None, action: str | None = None, **arguments: object) -> Row:
    """A tool call's row."""
    row = {"kind": "tool_call", "session_id": session, "tool": name, "mcp_server": server, "action": action}
    return {**WHO, **row, "arguments": json.dumps(arguments)}


def suggested(rows: list[Row]) -> tuple[Suggestion, Report]:
    """What is suggested, and what becomes of the same rows under it."""
    calls = [recorded({**row, "call_id": str(place)}) for place, row in enumerate(rows)]
    found = suggest(used_by(calls), workflow="fix", margin=Decimal("1.5"))
    grant = parse_manifest(found.text, {}, source="suggested")
    return found, Simulation(ENGINE, lambda _: grant).run(calls)


def test_each_entry_says_where_it_comes_from() -> None:
    """Few values are named, files are folders, a line with operators is taken word for word."""
    rows = [
        *(model(f"s{place}", "0.10") for place in range(4)),
        model("s0", None, "gpt-5-mini"),
        *(tool("s1", "search", server="github", repo="acme/calc", text=f"q{place}") for place in range(6)),
        *(tool("s1", "Bash", action="command", command=f"pytest tests/{place}.py") for place in range(5)),
        tool("s1", "Bash", action="command", command="make && make check"),
        *(tool("s2", "Edit", action="file_write", file_path=f"/work/src/{place}.py") for place in range(5)),
        tool("s2", "WebFetch", action="network", url="https://example.com/x"),
    ]
    found, report = suggested(rows)
    assert (
        snapshot("""\
# Made of 23 recorded calls in 4 sessions.
# Read it before you use it: what was not used then is refused.
# Not recorded, so not granted: credentials, memory, agents, artifacts.
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fix, team: payments, workflow: fix}
spec:
  models:
    - {provider: openai, model: gpt-5}  # 4 calls in 4 sessions
    - {provider: openai, model: gpt-5-mini}  # 1 call in 1 session
  tools:
    - {tool: Bash}  # 6 calls in 1 session
    - {tool: Edit, arguments: {file_path: {path: [/work/src]}}}  # 5 calls in 1 session
    - {tool: WebFetch}  # 1 call in 1 session
    - {mcp_server: github, tool: search, arguments: {repo: {one_of: [acme/calc]}}}  # 6 calls in 1 session
  filesystem:
    write: [/work/src]  # 5 calls on 5 files
  commands:
    - make && make check  # 1 call in 1 session
    - pytest *  # 5 calls in 1 session
  network:
    - 'example.com:443'  # 1 call in 1 session
  # The 99th percentile of 4 instances that spent $0.1000 at most, times 1.5; 1 call had no known cost.
  budgets: [{scope: instance, window: total, usd: 0.15, tokens: 30, calls: 3, mode: hard}]
""")
        == found.text
    )
    assert ((), 0) == (found.left_out, report.denied)


TEXTS = st.text(max_size=30)
PATHS = st.lists(st.sampled_from(["src", "a", "b", ".", "..", "*", "é"]), min_size=1, max_size=5).map("/".join)
SESSIONS = st.sampled_from(["s1", "s2", "s3"])
COMMANDS = st.one_of(TEXTS, st.sampled_from(["ls -l", "ls", "a && b", "x\ny", "# no", "- y", "'q': \"z\"", "é" * 600]))
MODELS = st.sampled_from(["m", "m-*", "yes"])
ROWS = st.one_of(
    st.builds(
        model, SESSIONS, st.sampled_from(["0.5", "0.000000001", "0", None]), st.sampled_from(["m", "m-*", "yes"])
    ),
    st.builds(lambda s, line: tool(s, "Bash", action="command", command=line), SESSIONS, COMMANDS),
    st.builds(lambda s, path: tool(s, "Read", action="file_read", path=path), SESSIONS, PATHS),
    st.builds(lambda s, path: tool(s, "Edit", action="file_write", file_path="/" + path), SESSIONS, PATHS),
    st.builds(
        lambda s, value: tool(s, "set", server="db", key=value),
        SESSIONS,
        st.one_of(st.sampled_from(["on", "1", 1, True, None, 1.5, ["x"], "[REDACTED:email]"]), TEXTS),
    ),
)


@pytest.mark.parametrize(
    "denied",
    [
        {**model("s1", "0.1", "gpt-4o"), "status": "denied"},
        {**tool("s1", "Bash", action="command", command="rm -r x"), "result_class": "denied"},
        {**tool("s1", "merge", server="github"), "result_class": "ok", "state": "executed", "decision": "deny"},
        {**tool("s1", "merge", server="github"), "state": "decided", "decision": "require_approval"},
    ],
)
def test_what_was_denied_is_not_granted(denied: Row) -> None:
    """Whatever the agent did then; the manifest says how many there were, and a draft is tried on them all the same."""
    allowed = [model("s1", "0.1"), {**tool("s1", "push"), "state": "executed", "decision": "require_approval"}]
    found, report = suggested([*allowed, denied])
    plain = suggested(allowed)[0]
    note = "# Not granted: what was denied then, 1 call.\n"
    assert (plain.text, 1) == (found.text.replace(note, ""), found.text.count(note))
    assert (1, 1, 3) == (report.denied_then, report.denied, report.calls)


@given(st.lists(ROWS, min_size=1, max_size=40))
def test_what_was_used_is_granted_again(rows: list[Row]) -> None:
    """Whatever it was; what nothing can grant is named."""
    found, report = suggested(rows)
    assert report.denied == 0 or found.left_out


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.py", "src/b.py"], ["."]),
        (["src/a.py", "src/x/b.py", "tests/c.py"], ["src", "tests"]),
        (["/etc/passwd", "/work/a/b.py", "/hosts"], ["/etc", "/hosts", "/work/a"]),
        (["../x", "src/../../y", ""], []),
        ([f"a/{place}/x.py" for place in range(FOLDERS_MAX + 1)], ["a"]),
    ],
)
def test_folders_are_as_few_as_hold_the_files(paths: list[str], expected: list[str]) -> None:
    """None of them below another, and never `/` itself."""
    assert expected == folders(paths)
