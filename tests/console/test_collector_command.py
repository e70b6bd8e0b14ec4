"""`headgate collector`, without a Collector: what it writes, asks for, and says when something is missing."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import jwt
import pytest
import yaml

from headgate_console.collector import binary
from headgate_console.testing.commands import Run, runner
from headgate_processors.credentials.issuer import KEYS_MAX

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in an empty folder, without any variable of Headgate's."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("HEADGATE_")]:
        monkeypatch.delenv(name)

    return runner(capsys, "collector")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the Collector's place that writes its arguments and the folder of its queue."""
    program = tmp_path / "stand-in"
    program.write_text('#!/bin/sh\necho "$@"\necho "$HEADGATE_COLLECTOR_DATA"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("HEADGATE_COLLECTOR_BINARY", str(program))
    return program


def test_it_lists_configurations_and_their_files(run: Run) -> None:
    """All of them, with each overlay, and where they are."""
    rows = json.loads(run("config", "--json").out)
    assert {"local", "agent", "gateway", "gateway+kafka"} <= {row["name"] for row in rows}
    assert all(Path(file).is_file() for row in rows for file in row["files"])


def test_it_writes_a_configuration_as_it_stands(run: Run) -> None:
    """The file itself, with its comments."""
    assert (ROOT / "collector-config" / "local.yaml").read_text(encoding="utf-8") == run("config", "local").out


def test_it_writes_a_configuration_with_an_overlay_as_one_file(run: Run) -> None:
    """Maps are merged, lists are replaced, and no other file is needed."""
    merged = yaml.safe_load(run("config", "gateway", "--with", "kafka").out)
    assert ["kafka"] == merged["service"]["pipelines"]["traces"]["exporters"]
    assert ["otlp"] == merged["service"]["pipelines"]["traces"]["receivers"]
    assert {"kafka", "otlp_grpc"} == set(merged["exporters"])
    assert run("config", "gateway", "--with", "kafka").out == run("config", "gateway+kafka").out


def test_names_that_do_not_exist_are_answered_with_those_that_do(run: Run) -> None:
    """Exit code 2, and the nearest name."""
    assert 2 == run("config", "lokal").code
    assert "did you mean local?" in run("config", "lokal").err
    assert "did you mean kafka?" in run("run", "gateway", "--with", "kafak").err
    assert "agent has no overlay 'kafka': it has none." in run("run", "agent", "--with", "kafka").err


def test_a_start_without_its_variables_says_which(run: Run) -> None:
    """Each by name and in words."""
    result = run("run", "agent")
    assert 2 == result.code
    assert "HEADGATE_COLLECTOR_GATEWAY  The gateway Collector, HOST:PORT." in result.err
    assert "HEADGATE_COLLECTOR_TOKEN_FILE" in result.err


def test_without_a_collector_it_says_how_to_get_one(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit code 1 and the ways to one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binary, "_CHECKOUT", tmp_path)
    result = run("run")
    assert 1 == result.code
    assert "make collector" in result.err
    assert "otelcol-contrib" in result.err
    monkeypatch.setenv("HEADGATE_COLLECTOR_BINARY", "/nowhere/otelcol")
    assert "/nowhere/otelcol is no program" in run("run").err


def test_what_is_valid_and_what_lacks_variables_is_told(run: Run, stand_in: Path) -> None:
    """One that is named must be complete; those that are not named may lack variables."""
    everything = json.loads(run("validate", "--json").out)
    results = {row["name"]: row["result"] for row in everything}
    assert "valid" == results["local"]
    assert "not set up" == results["gateway"]
    assert 0 == run("validate").code
    assert 2 == run("validate", "gateway").code
    stand_in.write_text("#!/bin/sh\necho 'Error: no such key' >&2\nexit 1\n", encoding="utf-8")
    result = run("validate", "local")
    assert 1 == result.code
    assert "no such key" in result.out


@pytest.mark.slow
@pytest.mark.parametrize(("keys", "files"), [(False, ["local.yaml"]), (True, ["local.yaml", "platform.yaml"])])
def test_a_start_leads_to_the_store(run: Run, stand_in: Path, tmp_path: Path, keys: bool, files: list[str]) -> None:
    """The queue lies in the folder of the store; with keys there, Headgate's own parts are listened to as well."""
    if keys:
        assert 0 == run("keys", "--data", "store").code
    ports = {f"HEADGATE_COLLECTOR_{name}_PORT": "0" for name in ("GRPC", "HTTP", "PLATFORM")}
    headgate = Path(sys.executable).parent / "headgate"
    done = subprocess.run(
        [headgate, "collector", "run", "local", "--data", "store", "--", "--set", "a=b"],
        env={**os.environ, **ports},
        capture_output=True,
        text=True,
        check=True,
    )
    arguments, queue = done.stdout.splitlines()
    assert files == [Path(word).name for word in arguments.split() if word.endswith(".yaml")]
    assert arguments.endswith("--set a=b")
    assert tmp_path / "store" / "collector" / "queue" == Path(queue)
    assert 0o700 == stat.S_IMODE(Path(queue).stat().st_mode)


def test_a_port_that_is_taken_is_named_before_the_start(
    run: Run, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do: most often `headgate up` has it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HEADGATE_COLLECTOR_GRPC_PORT", str(server.getsockname()[1]))
        result = run("run")
    assert 1 == result.code
    assert "--behind-collector" in result.err


def test_keys_sign_tokens_and_outlive_rotations(run: Run, tmp_path: Path) -> None:
    """Private files are the owner's alone; a token of the key before is still good, of one long gone no more."""
    public = tmp_path / "store" / "collector" / "jwks.json"
    assert 0 == run("keys", "--data", "store").code
    private = [public.with_name("issuer.pem"), public.with_name("receiver-token")]
    assert [0o600] * 2 == [stat.S_IMODE(path.stat().st_mode) for path in private]
    token = run("token", "spiffe://headgate/gateway/m", "--audience", "platform", "--data", "store").out.strip()
    for rotation in range(KEYS_MAX + 1):
        known = {key["kid"]: jwt.PyJWK(key) for key in json.loads(public.read_text(encoding="utf-8"))["keys"]}
        kid = jwt.get_unverified_header(token)["kid"]
        assert (kid in known) == (rotation < KEYS_MAX)
        if kid in known:
            claims = jwt.decode(token, known[kid], algorithms=["ES256"], audience="headgate-platform")
            assert "spiffe://headgate/gateway/m" == claims["sub"]
        assert 0 == run("keys", "--data", "store").code


def test_a_token_without_keys_says_how_to_make_them(run: Run) -> None:
    """Exit code 2; nothing is made unasked."""
    result = run("token", "agent-7", "--data", "store")
    assert 2 == result.code
    assert "headgate collector keys" in result.err
    assert 2 == run("token", "agent-7", "--lifetime", "soon").code


@pytest.mark.parametrize("lifetime", ["0", "0d", "0.5s"])
def test_a_token_that_is_good_for_no_time_is_refused(run: Run, lifetime: str) -> None:
    """Exit code 2 and a sentence, instead of a token that everybody refuses."""
    assert 0 == run("keys", "--data", "store").code
    result = run("token", "agent-7", "--lifetime", lifetime, "--data", "store")
    assert (2, "") == (result.code, result.out)
    assert "--lifetime" in result.err


def test_make_collector_without_go_says_what_to_do(tmp_path: Path) -> None:
    """One sentence with the next step, on a machine that has make and a shell."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("make", "sh", "mkdir", "touch", "env"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    (tmp_path / "collector-config").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "collector-config" / "builder.yaml", tmp_path / "collector-config")
    done = subprocess.run(
        [tools / "make", "collector"],
        cwd=tmp_path,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 2 == done.returncode
    assert "make collector needs Go" in done.stderr
    assert "https://go.dev/dl" in done.stderr
    assert not (tmp_path / "build").exists()
