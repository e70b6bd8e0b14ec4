"""Control and its gateway with certificates: commands, drills, agents and a gateway elsewhere speak TLS to them."""

import json
import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headgate_console.testing.commands import runner
from headgate_console.testing.up import listeners
from headgate_processors.testing.issuers import Authority
from headgate_processors.testing.model_server import ModelServer, parsed_scenario
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ANSWERS = "turns: [{say: hello}]\nusage: {input_tokens: 100, output_tokens: 10}\n"
Told = Callable[..., Any]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signed the certificates."""
    return Authority(tmp_path)


@pytest.fixture
def secured(start_site: Callable[..., Any], authority: Authority, tmp_path: Path) -> Iterator[Any]:
    """A site whose control and gateway have a certificate."""
    files = authority.issue("control")
    pair = {"CERT_FILE": str(files.certificate), "KEY_FILE": str(files.key)}
    variables = {
        f"HEADGATE_{section}__TLS__{name}": path
        for section in ("CONTROL", "GATEWAYS__MODEL")
        for name, path in pair.items()
    }
    with ModelServer(parsed_scenario(ANSWERS)) as model, start_site(tmp_path, model, **variables) as site:
        yield site


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, secured: Any) -> Told:
    """Run a command on that site and read its JSON."""
    monkeypatch.chdir(secured.folder)
    monkeypatch.setenv("HEADGATE_DATA", str(secured.data))
    run = runner(capsys)

    def read(*arguments: str) -> Any:
        result = run(*arguments, "--json")
        assert 0 == result.code, result.err
        return json.loads(result.out)

    return read


def called(url: str, key: str, authority: Authority) -> int:
    """The status of an agent's call, which trusts the authority alone."""
    context = ssl.create_default_context(cafile=authority.file)
    body = {"model": "gpt-5", "max_completion_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {key}"}
    with closing(httpx2.Client(verify=context, trust_env=False, timeout=PATIENCE_S)) as client:
        return int(client.post(f"{url}/chat/completions", json=body, headers=headers).status_code)


def test_everybody_speaks_tls_to_control_and_its_gateway(
    secured: Any, told: Told, authority: Authority, headgate: list[str]
) -> None:
    """The environment of an agent says so; in clear nobody is answered; a gateway elsewhere needs the authority."""
    made = told("instance", "create", "--manifest", str(secured.manifest()))
    environment = made["environment"]
    assert ("https", "https") == tuple(
        environment[name].partition(":")[0] for name in ("OPENAI_BASE_URL", "HEADGATE_HOOK_URL")
    )
    assert 200 == called(environment["OPENAI_BASE_URL"], made["gateway_key"], authority)
    with pytest.raises(httpx2.TransportError):
        secured.call(made["gateway_key"])
    with remote(secured, told, authority, headgate) as url:
        wait_until(lambda: called(url, made["gateway_key"], authority) == 200)
        stopped = told("stop", "instance", made["instance_id"], "--reason", "it loops")
        found = {one["enforcement_point"] for one in stopped["effects"]}
        denied = [called(one, made["gateway_key"], authority) for one in (url, environment["OPENAI_BASE_URL"])]
    assert ({"eu-1", "model-gateway"}, [403, 403]) == (found, denied)
    assert [True] * 3 == [one["next_call_denied"] for one in told("drill", "--runs", "1")]


class Remote:
    """A gateway of its own, as a process."""

    def __init__(self, process: "subprocess.Popen[str]", said: Path) -> None:
        self._process, self._said = process, said

    def __enter__(self) -> str:
        """Where agents call it."""
        address = listeners(self._process, {"model-gateway"}, said=self._said)["model-gateway"]
        return f"https://{address}/openai/v1"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE_S)


def remote(site: Any, told: Told, authority: Authority, headgate: list[str]) -> Remote:
    """A gateway that trusts control by its authority, and has a certificate of its own."""
    files, token = authority.issue("eu-1"), site.folder / "gateway.token"
    told("token", "create", "--role", "gateway", "--name", "eu-1", "--file", str(token))
    upstreams = {"openai": {"base_url": f"{site.model.url}/v1", "api_key": "env:SCRIPTED_KEY"}}
    variables = {
        "SCRIPTED_KEY": "sk-of-the-provider",
        "HEADGATE_GATEWAYS__MODEL__UPSTREAMS": json.dumps(upstreams),
        "HEADGATE_GATEWAYS__MODEL__TLS__CERT_FILE": str(files.certificate),
        "HEADGATE_GATEWAYS__MODEL__TLS__KEY_FILE": str(files.key),
    }
    options = {
        "--control": f"https://{site.addresses['control']}",
        "--token-file": str(token),
        "--name": "eu-1",
        "--folder": str(site.folder / "eu-1"),
        "--listen": "127.0.0.1:0",
        "--ca-file": str(authority.file),
    }
    said = site.folder / "eu-1.err"
    with said.open("w") as errors:
        process = subprocess.Popen(
            [*headgate, "gateway", "model", *(word for pair in options.items() for word in pair)],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    return Remote(process, said)
