"""Who may command a running control, how its hook is asked, and what is never written down."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headgate_console.testing.commands import Run
from headgate_processors.testing.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
Told = Callable[..., Any]
Agent = Callable[..., dict[str, Any]]
COMMANDS = [
    ("GET", "/v1/stops"),
    ("POST", "/v1/stops"),
    ("POST", "/v1/stops/resume"),
    ("GET", "/v1/instances"),
    ("POST", "/v1/instances"),
    ("POST", "/v1/instances/{id}/revoke"),
    ("POST", "/v1/instances/{id}/token"),
    ("GET", "/v1/budgets"),
    ("PUT", "/v1/budgets"),
    ("POST", "/v1/budgets/remove"),
    ("GET", "/v1/limits"),
    ("PUT", "/v1/limits"),
    ("POST", "/v1/drill"),
]
GATEWAYS_TOO = {"/v1/instances/{id}/token"}
CALLERS = {
    "agent": 403,
    "telemetry": 401,
    "client": 401,
    "collector": 401,
    "provider": 401,
    "control": 401,
    "gateway": 403,
    "nobody": 401,
    "forged": 401,
    "provider key": 401,
}


@pytest.fixture
def shown(told: Told, agent: Agent) -> dict[str, str | None]:
    """What callers who may not command show, by who they are; `id` is the agent's own."""
    made = agent("doors")
    tokens = {role: told("token", "create", "--role", role)["token"] for role in ("client", "collector", "gateway")}
    tokens |= {role: told("token", "create", "--role", role)["token"] for role in ("provider", "control")}
    key = made["gateway_key"]
    return {
        **tokens,
        "id": made["instance_id"],
        "agent": key,
        "telemetry": made["telemetry_token"],
        "nobody": None,
        "forged": key[:-1] + ("0" if key[-1] != "0" else "1"),
        "provider key": "sk-of-the-provider",
    }


def test_nobody_but_an_operator_commands(control_site: Any, shown: dict[str, str | None], told: Told) -> None:
    """At every route, with every credential that is good elsewhere; nothing has changed after all of it."""
    before = told("instance", "show", str(shown["id"]))
    body = {"scope": "instance", "id": shown["id"], "reason": "x", "calls": 1, "runs": 1, "window": "total"}
    found = {
        (method, path, who): control_site.ask(
            method, path.format(id=shown["id"]), shown[who], None if method == "GET" else body
        ).status_code
        for method, path in COMMANDS
        for who in CALLERS
    }
    expected = {(method, path, who): status for method, path in COMMANDS for who, status in CALLERS.items()}
    expected |= {("POST", path, "gateway"): 201 for path in GATEWAYS_TOO}
    assert expected == found
    assert before == told("instance", "show", str(shown["id"]))


def test_whoever_commands_and_may_not_leaves_a_trace(control_site: Any, agent: Agent) -> None:
    """An agent has an event in the journal; nobody that we know is counted, and said once."""
    made = agent("traced")
    for token in (made["gateway_key"], "hgt_forged_forged"):
        control_site.ask("POST", "/v1/stops", token, {"scope": "platform", "reason": "x"})
    rows = control_site.seen(
        f"SELECT reason FROM audit WHERE action = 'command.refuse' AND id = '{made['instance_id']}'"
    )
    wait_until(
        lambda: 'asked="POST /v1/stops",status="401"' in httpx2.get(control_site.url("console", "/metrics")).text
    )
    assert ([{"reason": "POST /v1/stops: it is not for agents"}], True) == (
        rows,
        "POST /v1/stops was refused" in control_site.said(),
    )


def test_an_agent_cannot_resume_itself(control_site: Any, told: Told, agent: Agent) -> None:
    """Its key shows it its own record and nobody else's."""
    made, other = agent("self"), agent("self")
    told("stop", "instance", made["instance_id"], "--reason", "it loops")
    body = {"scope": "instance", "id": made["instance_id"], "reason": "I am well"}
    assert 403 == control_site.ask("POST", "/v1/stops/resume", made["gateway_key"], body).status_code
    own = control_site.ask("GET", f"/v1/instances/{made['instance_id']}", made["gateway_key"])
    assert (200, "it loops") == (own.status_code, own.json()["stopped_by"]["reason"])
    assert 403 == control_site.ask("GET", f"/v1/instances/{other['instance_id']}", made["gateway_key"]).status_code
    assert 403 == control_site.call(made["gateway_key"]).status_code


def test_tokens_are_no_gateway_keys(control_site: Any, shown: dict[str, str | None]) -> None:
    """Nor is the admin's, nor the provider's own."""
    every = [*(shown[who] for who in CALLERS if who not in {"agent", "nobody"}), control_site.admin]
    assert {401} == {control_site.call(str(text)).status_code for text in every}


def test_the_admin_token_is_its_owners_alone(control_site: Any) -> None:
    """As everything that control keeps."""
    private = [control_site.data / "admin.token", *(control_site.data / "control").rglob("*")]
    assert {} == {
        str(path): oct(stat.S_IMODE(path.stat().st_mode))
        for path in private
        if path.is_file() and path.suffix in {".token", ".pem", ".key"} and stat.S_IMODE(path.stat().st_mode) & 0o077
    }
    assert 0 == stat.S_IMODE((control_site.data / "control").stat().st_mode) & 0o077


def test_a_token_of_an_instance_is_minted_for_one_audience(control_site: Any, told: Told, agent: Agent) -> None:
    """Signed by a key that anybody can look up; refused while something holds the instance."""
    made = agent("minted")
    path = f"/v1/instances/{made['instance_id']}/token"
    minted = control_site.ask("POST", path, control_site.admin, {"audience": "headgate-platform"})
    assert (201, "headgate-platform") == (minted.status_code, minted.json()["audience"])
    assert 3 == len(minted.json()["token"].split("."))
    keys = control_site.ask("GET", "/.well-known/jwks.json", None).json()["keys"]
    assert {("EC", "P-256")} == {(key["kty"], key["crv"]) for key in keys}
    assert "d" not in keys[0]
    assert 400 == control_site.ask("POST", path, control_site.admin, {"audience": "elsewhere"}).status_code
    unknown = control_site.ask("POST", "/v1/instances/ai-nobody/token", control_site.admin, {})
    assert 404 == unknown.status_code
    receiver = f"http://{control_site.addresses['otlp-http']}/v1/traces"
    sent = {}
    for audience in ("headgate-telemetry", "headgate-gateway"):
        token = control_site.ask("POST", path, control_site.admin, {"audience": audience}).json()["token"]
        headers = {"authorization": f"Bearer {token}", "content-type": "application/x-protobuf"}
        sent[audience] = httpx2.post(receiver, content=b"", headers=headers).status_code
    assert {"headgate-telemetry": 200, "headgate-gateway": 401} == sent
    told("stop", "team", "minted", "--reason", "held")
    assert 403 == control_site.ask("POST", path, control_site.admin, {}).status_code


def asked(environment: dict[str, str], command: str) -> "subprocess.CompletedProcess[str]":
    """What `headgate hook` does about a shell command."""
    call = {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": command}}
    process = [sys.executable, "-m", "headgate_console", "hook"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_HOOK_")}
    return subprocess.run(
        process, input=json.dumps(call), env=plain | environment, check=False, capture_output=True, text=True
    )


def test_the_hook_says_what_control_says(agent: Agent, told: Told) -> None:
    """Allowed by the manifest, denied by it, and ended by a stop: each with exit code 0, which Claude Code reads."""
    made = agent("hooked")
    environment = made["environment"]

    def said(command: str) -> tuple[int, str, bool]:
        done = asked(environment, command)
        answer = json.loads(done.stdout)
        return done.returncode, answer["hookSpecificOutput"]["permissionDecision"], answer.get("continue", True)

    assert (0, "allow", True) == said("pytest -q")
    assert (0, "deny", True) == said("rm -rf /")
    told("stop", "instance", made["instance_id"], "--reason", "enough")
    assert (0, "deny", False) == said("pytest -q")


@pytest.mark.parametrize(
    "changed",
    [
        {"HEADGATE_HOOK_URL": "http://127.0.0.1:9/hooks/claude-code"},
        {"HEADGATE_HOOK_URL": "file:///etc/passwd"},
        {"HEADGATE_HOOK_URL": ""},
        {"HEADGATE_HOOK_KEY": ""},
    ],
)
def test_a_hook_that_cannot_ask_blocks(agent: Agent, changed: dict[str, str]) -> None:
    """Exit code 2, nothing on stdout, and why on stderr."""
    done = asked(agent("blocked")["environment"] | changed, "pytest -q")
    assert (2, "") == (done.returncode, done.stdout)
    assert "so it is blocked" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_answers_the_hook_must_be_control(control_site: Any, agent: Agent) -> None:
    """The console's listener is not."""
    changed = {"HEADGATE_HOOK_URL": control_site.url("console", "/healthz")}
    assert 2 == asked(agent("blocked")["environment"] | changed, "pytest -q").returncode


def test_no_secret_is_written_anywhere(control_site: Any, told: Told, agent: Agent) -> None:
    """Keys and tokens of agents, of gateways and of the provider: in no file but the token's own, and in no log."""
    made = agent("secretive")
    control_site.call(made["gateway_key"])
    instance = made["instance_id"]
    told("stop", "instance", instance, "--reason", "end")
    control_site.seen(f"SELECT 1 FROM model_calls WHERE instance_id = '{instance}'")
    control_site.seen(f"SELECT 1 FROM stops WHERE target = '{instance}'")
    issued = told("token", "create", "--role", "gateway")["token"]
    secrets = [*control_site.secrets, issued, "sk-of-the-provider"]
    own = {path: path.read_text().strip() for path in control_site.data.rglob("*.token")}
    found = {
        (str(path.relative_to(control_site.folder)), secret[:8])
        for path, content in files(control_site.folder)
        for secret in [*secrets, *own.values()]
        if secret.encode() in content and own.get(path) != secret
    }
    assert set() == found


def files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder that is still there when it is read."""
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                yield path, path.read_bytes()
        except FileNotFoundError:
            continue


def test_a_folder_where_nothing_was_started_says_so(run: Run, tmp_path: Path) -> None:
    """With what to do; and a token that is none is refused."""
    result = run("stops", "--data", str(tmp_path))
    assert 1 == result.code
    assert "headgate up" in result.err
