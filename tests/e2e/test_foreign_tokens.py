"""Tokens of a site's own issuer, at the gateway of `headgate up` and at one that is a process of its own."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from headgate_console.testing.commands import runner
from headgate_console.testing.up import listeners
from headgate_control.testing.foreign_issuer import LocalIssuer
from headgate_processors.testing.model_server import ModelServer, parsed_scenario
from headgate_processors.testing.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ANSWERS = "turns: [{say: hello}]\nusage: {input_tokens: 100, output_tokens: 10}\n"


def test_the_token_of_a_ci_job_is_that_of_an_instance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], headgate: list[str], start_site: Any
) -> None:
    """By a rule that is written while everything runs; at control it is nobody's, and a 401 says what is wrong."""
    file, run = tmp_path / "issuers.yaml", runner(capsys)
    with LocalIssuer.serving(at_unix_nano=time.time_ns()) as issuer, ModelServer(parsed_scenario(ANSWERS)) as model:

        def believe(instance: str) -> None:
            rule = f"{{claims: {{repository: acme/calc}}, instance: {instance}}}"
            text = f"issuers: [{{issuer: '{issuer.name}', audience: headgate, instances: [{rule}]}}]"
            file.write_text(text)
            file.chmod(0o600)

        believe("ai-later")
        with start_site(tmp_path, model, HEADGATE_CONTROL__ISSUERS=str(file)) as site:
            data = str(site.data)
            manifest = str(site.manifest())
            made = json.loads(run("instance", "create", "--manifest", manifest, "--data", data, "--json").out)
            token = tmp_path / "gateway.token"
            run("token", "create", "--role", "gateway", "--file", str(token), "--data", data)
            upstreams = {"openai": {"base_url": f"{model.url}/v1", "api_key": "env:SCRIPTED_KEY"}}
            variables = {
                "SCRIPTED_KEY": "sk-of-the-provider",
                "HEADGATE_GATEWAYS__MODEL__UPSTREAMS": json.dumps(upstreams),
                "HEADGATE_CONTROL__ISSUERS": str(file),
            }
            words = ["--control", site.url("control", ""), "--token-file", str(token), "--listen", "127.0.0.1:0"]
            command = [*headgate, "gateway", "model", *words, "--folder", str(tmp_path / "eu-1")]
            with (
                (tmp_path / "eu-1.err").open("w") as errors,
                subprocess.Popen(
                    command, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=errors, text=True
                ) as process,
            ):
                try:
                    alone = listeners(process, {"model-gateway"}, said=tmp_path / "eu-1.err")["model-gateway"]
                    both = (None, alone)
                    unknown = [site.call(issuer.token(), gateway=where) for where in both]
                    believe(made["instance_id"])
                    for where in both:
                        wait_until(lambda where=where: site.call(issuer.token(), gateway=where).status_code == 200)  # type: ignore[misc]
                    other = [site.call(issuer.token(aud="other"), gateway=where) for where in both]
                    forged = site.ask("GET", "/v1/stops", issuer.token()).status_code
                finally:
                    process.kill()
    assert [401] * 5 == [*(one.status_code for one in (*unknown, *other)), forged]
    assert ["no good token: the token is for another audience: 'headgate' is expected of its issuer"] * 2 == [
        one.json()["error"]["message"] for one in other
    ]
