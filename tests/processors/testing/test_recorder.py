import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headgate_processors.errors import ConfigError
from headgate_processors.testing.model_server import load_scenario, parsed_scenario
from headgate_processors.testing.recorder import (
    InstallError,
    OtlpSink,
    Recorded,
    agent_names,
    install,
    load_agent,
    record,
)

QUIET_S = 0.1
AGENTS = Path(__file__).parents[2] / "recordings" / "recorder"
SCRIPT = """
import json, os, sys, urllib.request

def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request))

otlp, model, what = sys.argv[1:]
if what == "hang":
    import subprocess, time
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", os.getcwd()])
    time.sleep(300)
answer = post(model + "/v1/chat/completions", {"model": "m", "messages": []})
span = {"traceId": "0a" * 16, "spanId": "0b" * 8, "name": os.getcwd(), "startTimeUnixNano": "1", "endTimeUnixNano": "2"}
post(otlp + "/v1/traces", {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
print(open("notes.txt").read(), os.environ["HTTPS_PROXY"], sorted(os.environ)[0])
sys.exit(3 if what == "fail" else 0)
"""
SCENARIO = "files: {notes.txt: hello}\nturns: [{say: Done.}]\nusage: {input_tokens: 70, output_tokens: 7}"
HANG = SCENARIO + "\nkill: {after_requests: 1, wait_s: 0}"


def agent_folder(folder: Path, what: str = "end", **more: Any) -> Path:
    """A folder with one agent, `small`, that asks once and sends one span."""
    (folder / "agents").mkdir(parents=True)
    (folder / "scripts").mkdir()
    (folder / "scripts" / "small.py").write_text(SCRIPT)
    command = [sys.executable, "{scripts}/small.py", "{otlp_http}", "{model_url}", what]
    spec = {"about": "a small one", "command": command, "environment": {"AAA": "{home}"}, **more}
    (folder / "agents" / "small.yaml").write_text(yaml.safe_dump(spec))
    return folder


def recorded(folder: Path, scenario: str = SCENARIO, what: str = "end", **more: Any) -> Recorded:
    """A recording of the small agent under `out`."""
    agent = load_agent(agent_folder(folder / "r", what, **more), "small")
    prefix = install(agent, folder / "prefixes")
    return record(agent, parsed_scenario(scenario), name="one", prefix=prefix, out=folder / "out", quiet_s=QUIET_S)


def spans() -> list[ReadableSpan]:
    """One finished span."""
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("test").start_span("chat").end()
    return list(memory.get_finished_spans())


def test_a_recording_holds_what_was_sent_and_what_was_true(tmp_path: Path) -> None:
    """Requests with dummy paths, figures of the model server, versions."""
    done = recorded(tmp_path)
    lines = [json.loads(line) for line in gzip.decompress(done.path.read_bytes()).splitlines()]
    span = lines[0]["request"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    expected = json.loads((tmp_path / "out" / "expected.json").read_text())["one"]
    assert not done.ran.failed, done.ran.output
    assert "hello http://127.0.0.1:9 AAA\n" == done.ran.output
    assert ("http", "traces", "/v1/traces", "/srv/project") == (
        lines[0]["transport"],
        lines[0]["signal"],
        lines[0]["path"],
        span["name"],
    )
    assert {
        "model_calls": [1],
        "input_tokens": [70],
        "output_tokens": [7],
        "cache_read_tokens": [None, 0],
        "tool_calls": [0],
        "sessions": [1],
    } == expected
    assert (tmp_path / "out" / "versions.txt").exists()


def test_a_second_scenario_joins_the_first(tmp_path: Path) -> None:
    """`expected.json` keeps what it had."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "expected.json").write_text('{"other": {"sessions": [1]}}')
    recorded(tmp_path)
    assert ["one", "other"] == list(json.loads((tmp_path / "out" / "expected.json").read_text()))


def test_a_failing_agent_is_told(tmp_path: Path) -> None:
    """Its exit code and its output are part of the result."""
    ran = recorded(tmp_path, what="fail").ran
    assert (True, 3, True) == (ran.failed, ran.exit_code, "hello" in ran.output)


def test_an_agent_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    """At its time limit, which is a failure; nothing that it started lives on."""
    agent = load_agent(agent_folder(tmp_path / "r", "hang", time_limit_s=1), "small")
    out = tmp_path / "out"
    done = record(agent, parsed_scenario(SCENARIO), name="one", prefix=tmp_path / "prefix", out=out, quiet_s=QUIET_S)
    assert (True, True, -9) == (done.ran.timed_out, done.ran.failed, done.ran.exit_code)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in listed


def test_an_agent_is_killed_when_the_scenario_says(tmp_path: Path) -> None:
    """A kill that the scenario wants is no failure."""
    script = "import time, urllib.request as u; u.urlopen('{model_url}/v1/models'); time.sleep(300)"
    more = {"command": [sys.executable, "-c", script]}
    ran = recorded(tmp_path, HANG, **more).ran
    assert (True, False, False) == (ran.killed, ran.timed_out, ran.failed)


@pytest.mark.parametrize("transport", ["grpc", "http", "gzip"])
def test_the_sink_takes_what_exporters_send(transport: str) -> None:
    """gRPC, and HTTP with or without compression, come out as the same JSON with hexadecimal ids."""
    (span,) = spans()
    with OtlpSink() as sink:
        url = f"{sink.endpoints.http}/v1/traces"
        exporter = {
            "grpc": lambda: GrpcExporter(endpoint=sink.endpoints.grpc, insecure=True),
            "http": lambda: HttpExporter(endpoint=url),
            "gzip": lambda: HttpExporter(endpoint=url, compression=Compression.Gzip),
        }[transport]()
        exporter.export([span])
        exporter.shutdown()
        (one,) = sink.received()
    sent = one.request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    context = span.get_span_context()
    assert context is not None
    assert (f"{context.trace_id:032x}", "chat") == (sent["traceId"], sent["name"])
    assert transport == ("gzip" if one.headers.get("content-encoding") == "gzip" else one.transport)


def test_the_sink_refuses_what_is_no_otlp() -> None:
    """Broken bodies are answered with 400 and kept nowhere."""
    with OtlpSink() as sink:
        statuses = [
            httpx2.post(f"{sink.endpoints.http}/v1/logs", content=body, headers=headers, trust_env=False).status_code
            for body, headers in (
                (b"{", {"content-type": "application/json"}),
                (b"\xff\xff", {"content-type": "application/x-protobuf"}),
                (b"", {"content-encoding": "br"}),
                (b"{}", {"content-type": "application/json"}),
            )
        ]
        kept = len(sink.received())
    assert ([400, 400, 400, 200], 1) == (statuses, kept)


def test_every_agent_of_the_project_can_be_loaded() -> None:
    """Six frameworks and more, each with a script that is there, each held to versions when it comes from PyPI."""
    agents = [load_agent(AGENTS, name) for name in agent_names(AGENTS)]
    scripts = [word for agent in agents for word in agent.command if word.startswith("{scripts}/")]
    assert 6 <= len(agents)
    assert [] == [word for word in scripts if not (AGENTS / word.replace("{scripts}", "scripts")).exists()]
    assert [] == [agent.name for agent in agents if agent.python and agent.lock is None]


def test_an_unknown_agent_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    """So is a file that is wrong, by its name."""
    folder = agent_folder(tmp_path / "r")
    with pytest.raises(ConfigError, match="there is small"):
        load_agent(folder, "large")
    (folder / "agents" / "small.yaml").write_text("about: no command")
    with pytest.raises(ConfigError, match=r"small\.yaml"):
        load_agent(folder, "small")


def test_an_installed_agent_is_kept(tmp_path: Path) -> None:
    """What is there in these versions is not installed again; other versions are."""
    folder = agent_folder(tmp_path / "r")
    prefix = install(load_agent(folder, "small"), tmp_path / "prefixes")
    (prefix / "mark").touch()
    again = install(load_agent(folder, "small"), tmp_path / "prefixes")
    was_kept = (again / "mark").exists()
    (folder / "agents" / "small.lock.txt").write_text("something==1\n")
    install(load_agent(folder, "small"), tmp_path / "prefixes")
    assert (True, False) == (was_kept, (prefix / "mark").exists())


@pytest.mark.slow
def test_an_install_that_fails_shows_what_pip_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is the output of the package manager, and the next run tries again."""
    monkeypatch.setitem(os.environ, "PIP_NO_INDEX", "1")
    agent = load_agent(agent_folder(tmp_path / "r", python=["no-such-package-of-headgate"]), "small")
    for _ in range(2):
        with pytest.raises(InstallError, match="no-such-package-of-headgate"):
            install(agent, tmp_path / "prefixes")


@pytest.mark.slow
def test_it_lists_its_agents_on_the_command_line() -> None:
    """Agents and scenarios; an unknown one ends with exit code 2."""
    command = [sys.executable, "-m", "headgate_processors.testing.recorder", "--agents", str(AGENTS)]
    listed = subprocess.run([*command, "list"], capture_output=True, text=True, check=True).stdout
    refused = subprocess.run([*command, "record", "nobody", "multi_step"], capture_output=True, text=True, check=False)
    assert ["claude-code", "multi_step"] == [word for word in ("claude-code", "multi_step") if word in listed]
    assert (2, True) == (refused.returncode, "no agent nobody" in refused.stderr)


def test_scenarios_of_the_recorder_give_every_file_that_they_speak_of() -> None:
    """The script reads and edits files that the workspace has."""
    assert "calc.py" in load_scenario("multi_step").files
