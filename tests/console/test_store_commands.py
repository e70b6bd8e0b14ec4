"""`headgate store` and `headgate forget`, over a store of a few recorded sessions."""

import json
import os
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from headgate_console.cli import main
from headgate_console.testing.commands import Result, Run, runner

RECORDINGS = resources.files("headgate_console.demo") / "recordings"

pytestmark = pytest.mark.recordings


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one agent's session and another's."""
    data = tmp_path_factory.mktemp("replayed") / "store"
    files = [str(RECORDINGS / f"{name}.jsonl.gz") for name in ("openai-agents-mcp-loop", "autogen-nocontent")]
    with pytest.raises(SystemExit) as ended:
        main(["replay", *files, "--data", str(data)])
    assert 0 == ended.value.code
    return data


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, replayed: Path) -> Run:
    """Run a command on a copy of the replayed store, `store` in the test's folder."""
    shutil.copytree(replayed, tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_DATA", str(tmp_path / "store"))

    return runner(capsys)


def _json(result: Result) -> Any:
    return json.loads(result.out)


def _live(folder: Path, dataset: str) -> Path:
    files = json.loads((folder / "store" / "manifest.json").read_bytes())["files"]
    return folder / "store" / next(file["path"] for file in files if file["dataset"] == dataset)


def _count(run: Run, view: str) -> int:
    rows = _json(run("sql", f"SELECT count(*) AS n FROM {view}", "--json"))
    return int(rows[0]["n"])


@pytest.mark.slow
def test_damage_is_named_served_around_and_mended(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Check finds it, a query goes on without it, repair takes the file back from a copy: as if nothing had been."""
    assert (0, []) == ((sound := run("store", "check", "--deep", "--json")).code, _json(sound))
    before = {view: _count(run, view) for view in ("spans", "content", "sessions")}
    path = _live(tmp_path, "spans")
    content, name = path.read_bytes(), path.relative_to(tmp_path / "store").as_posix()
    path.chmod(0o600)
    path.write_bytes(os.urandom(len(content)))

    found = run("store", "check", "--json")
    listed = run("sessions", "--json")

    assert (1, [("damaged", name)]) == (found.code, [(one["kind"], one["path"]) for one in _json(found)])
    assert before["sessions"] == len(_json(listed))
    assert f"{path} is damaged" in caplog.text
    assert 0 == run("store", "repair").code
    assert (1, [("set aside", name)]) == (
        (left := run("store", "check", "--json")).code,
        [(one["kind"], one["path"]) for one in _json(left)],
    )
    assert "damaged" in run("doctor").out
    path.write_bytes(content)
    assert [name] == _json(run("store", "repair", "--json"))[0]["taken_back"]
    assert 0 == run("store", "check", "--deep").code
    assert before == {view: _count(run, view) for view in ("spans", "content", "sessions")}


def test_noise_inside_a_file_is_told_by_the_query_that_meets_it(run: Run, tmp_path: Path) -> None:
    """That command fails with the name of the file; the next one is answered from the rest."""
    path = _live(tmp_path, "spans")
    found, content = path.stat(), bytearray(path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    path.chmod(0o600)
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    first, second = (run("sql", "SELECT * FROM spans", "--json") for _ in range(2))

    assert 1 == first.code
    assert f"{path} is damaged" in first.err
    assert "ask again" in first.err
    assert 0 == second.code


def test_damaged_derived_rows_are_derived_again(run: Run, tmp_path: Path) -> None:
    """What can be made from raw rows is made anew by repair."""
    before = _json(run("sql", "SELECT session_id, model_call_count FROM sessions ORDER BY 1", "--json"))
    path = _live(tmp_path, "sessions")
    path.chmod(0o600)
    path.write_bytes(b"noise")

    done = _json(run("store", "repair", "--json"))[0]

    assert (True, True) == (done["derive"], done["derived"])
    assert before == _json(run("sql", "SELECT session_id, model_call_count FROM sessions ORDER BY 1", "--json"))


@pytest.mark.slow
def test_a_store_without_manifests_is_rebuilt(run: Run, tmp_path: Path) -> None:
    """Both lost: the commands say what to do, and it works."""
    before = {view: _count(run, view) for view in ("spans", "content", "sessions", "tool_calls")}
    for name in ("manifest.json", "manifest.previous.json"):
        (tmp_path / "store" / name).unlink()

    refused = run("sessions")
    assert 1 == refused.code
    assert "headgate store repair" in refused.err
    assert 0 == run("store", "repair").code
    assert before == {view: _count(run, view) for view in ("spans", "content", "sessions", "tool_calls")}
    assert 0 == run("store", "check", "--deep").code


def test_a_backup_is_a_store(run: Run, tmp_path: Path) -> None:
    """It answers as the store does, and is checked like one."""
    sessions = run("sessions", "--json").out
    done = _json(run("store", "backup", str(tmp_path / "copy"), "--json"))[0]

    assert 0 < done["files"] == done["linked"]
    assert sessions == run("sessions", "--json", "--data", str(tmp_path / "copy")).out
    assert 0 == run("store", "check", "--deep", "--data", str(tmp_path / "copy")).code


@pytest.mark.slow
def test_a_forgotten_session_is_gone_for_good(run: Run, tmp_path: Path) -> None:
    """Out of every view at once; its bytes off the disk; a replay of the same records does not bring it back."""
    wanted, other = _json(
        run("sql", "SELECT session_id, service_name FROM sessions ORDER BY tool_call_count DESC", "--json")
    )
    text = _json(run("sql", "SELECT text FROM content WHERE length(text) > 40 LIMIT 1", "--json"))[0]["text"]

    asked = run("forget", "--session", wanted["session_id"][:8])
    done = run("forget", "--session", wanted["session_id"][:8], "--yes", "--json")

    assert (1, True) == (asked.code, "--yes" in asked.err)
    assert 1 == _json(done)[0]["sessions"]
    assert 0 < _json(done)[0]["rows"]
    assert [other["session_id"]] == [row["session_id"] for row in _json(run("sessions", "--json"))]
    kept = run(
        "sql", "SELECT DISTINCT service_name FROM spans WHERE operation_kind IN ('tool', 'llm', 'agent')", "--json"
    )
    assert [{"service_name": other["service_name"]}] == _json(kept)
    assert 0 == _count(run, "content")
    assert ["forgotten"] == [one["kind"] for one in _json(run("store", "check", "--json"))]
    assert 0 == run("compact").code
    assert 0 == run("replay", str(RECORDINGS / "openai-agents-mcp-loop.jsonl.gz")).code
    assert [other["session_id"]] == [row["session_id"] for row in _json(run("sessions", "--json"))]
    assert 0 == _count(run, "content")
    assert text not in (tmp_path / "store" / "forgotten.json").read_text()


@pytest.mark.parametrize("arguments", [[], ["--user", "a", "--session", "b"]])
def test_forget_needs_one_thing_to_forget(run: Run, arguments: list[str]) -> None:
    """Neither or both is bad usage."""
    assert 2 == run("forget", *arguments).code
