"""What a running site knows decides: sessions as its gateway counts them, budgets, and the directory; on every wire."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headgate_console.testing.commands import Run, runner
from headgate_processors.testing.model_server import ModelServer, parsed_scenario
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, team: payments, repo: acme/calc}
spec:
  models: [{provider: "*", model: "*"}]
  tools: [{tool: "*", mcp_server: github}]
  budgets: [{usd: 5}]
  limits: {tokens_per_minute: 1000000}
  risk_tier: high
"""
POLICIES = """
@id("all") permit(principal, action, resource);
@id("once") @reason("one call a session") forbid(principal, action == Headgate::Action::"tools/call", resource)
when {
  context.session.model_calls >= 1 && context.budget has micro_usd_left && context.budget.micro_usd_left < 5000000
};
@id("production") @reason("nothing above low risk works on production") forbid(principal, action, resource)
when { principal has environment && principal.environment == "production" }
unless { principal has risk_tier && principal.risk_tier == "low" };
"""
SCENARIO = "turns: [{say: hello}]\nusage: {input_tokens: 100, output_tokens: 10}\n"


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A site with policies of its own, a manifest, and what is known of its repository."""
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "a.cedar").write_text(POLICIES)
    (tmp_path / "fixer.yaml").write_text(MANIFEST)
    (tmp_path / "registry.yaml").write_text("repos: {acme/calc: {environment: production}}")
    started = request.getfixturevalue("start_site")
    directory = str(tmp_path / "policy")
    with (
        ModelServer(parsed_scenario(SCENARIO)) as model,
        started(tmp_path, model, HEADGATE_POLICY__DIR=directory) as found,
    ):
        yield found


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, site: Any) -> Any:
    """Run a command on that site and read its JSON."""
    monkeypatch.chdir(site.folder)
    monkeypatch.setenv("HEADGATE_DATA", str(site.data))
    monkeypatch.setenv("HEADGATE_POLICY__DIR", str(site.folder / "policy"))
    run: Run = runner(capsys)

    def read(*arguments: str) -> Any:
        result = run(*arguments, "--json")
        assert 0 == result.code, result.err
        return json.loads(result.out)

    return read


def called(site: Any, key: str, session: str) -> httpx2.Response:
    """A call of a model in a session that the agent names."""
    body = {"model": "gpt-5", "max_completion_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    return httpx2.post(
        f"http://{site.addresses['model-gateway']}/openai/v1/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {key}", "session_id": session},
        timeout=PATIENCE_S,
        trust_env=False,
    )


def asked(site: Any, made: Any, session: str) -> tuple[bool, int, str]:
    """What AuthZEN, the check and the hook say of a tool call in a session."""
    key, body = (
        made["gateway_key"],
        {
            "subject": {"type": "agent_instance", "id": made["instance_id"]},
            "action": {"name": "tools/call"},
            "resource": {"type": "tool", "id": "github/search"},
            "context": {"session": session},
        },
    )
    evaluated = site.ask("POST", "/access/v1/evaluation", key, body).json()["decision"]
    checked = site.ask("POST", "/access/v1/check", key, body).status_code
    hook = {
        "hook_event_name": "PreToolUse",
        "tool_name": "mcp__github__search",
        "tool_input": {},
        "session_id": session,
    }
    output = site.ask("POST", "/hooks/claude-code", key, hook).json()["hookSpecificOutput"]
    return evaluated, checked, output["permissionDecision"]


def test_every_wire_knows_the_session_the_budget_and_the_directory(site: Any, told: Any) -> None:
    """A call counts in its session alone; production is closed to it within a second of the import, and is told."""
    made = told("instance", "create", "--manifest", "fixer.yaml")
    key = made["gateway_key"]
    assert [(1_000_000, "instance")] == [(one["tokens_per_minute"], one["scope"]) for one in told("limit", "show")]
    assert 200 == called(site, key, "s1").status_code
    assert ((False, 403, "deny"), (True, 200, "allow")) == (asked(site, made, "s1"), asked(site, made, "s2"))
    told("directory", "import", "registry.yaml")
    wait_until(lambda: called(site, key, "s2").status_code == 403)
    refused = called(site, key, "s2")
    assert "nothing above low risk works on production" in refused.text
    decision_id = refused.headers["x-headgate-decision-id"]
    site.seen(f"SELECT 1 FROM decisions WHERE decision_id = '{decision_id}'")
    (again,) = told("policy", "explain", "--decision", decision_id)
    assert (True, True, ["production"]) == (again["same"], again["certain"], again["now"]["policy_ids"])
    rows = site.seen("SELECT environment, risk_tier FROM model_calls WHERE environment IS NOT NULL")
    assert {("production", "high")} == {(row["environment"], row["risk_tier"]) for row in rows}
    names = site.seen("SELECT DISTINCT resource_id FROM decisions WHERE action = 'tools/call'")
    assert [{"resource_id": "github/search"}] == names
