"""The commands that prove what was decided: over a folder that control wrote and an agent sent to."""

import json
import shutil
import stat
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from headgate_analytics.views import open_views
from headgate_console.cli import main
from headgate_console.control.place import Place
from headgate_console.testing.commands import Result, Run, runner
from headgate_control.audit.heads import anchor_logs
from headgate_control.audit.log import AuditLog
from headgate_control.stops.commands import stop
from headgate_control.store.opening import open_sqlite

RECORDING = resources.files("headgate_console.demo") / "recordings" / "claude-code-killed.jsonl.gz"


@pytest.fixture(scope="session")
def sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder with one agent's session, the id of the session, and its own key."""
    data = tmp_path_factory.mktemp("audited") / "store"
    with pytest.raises(SystemExit):
        main(["replay", str(RECORDING), "--data", str(data)])
    row = open_views(data, only=("sessions",)).execute("SELECT session_id, source_key FROM sessions").fetchone()
    assert row is not None
    return data, row[0], row[1]


@pytest.fixture
def data(sent: tuple[Path, str, str], tmp_path: Path) -> Path:
    """The same folder with what control decided of that session and of another one."""
    folder = tmp_path / "store"
    shutil.copytree(sent[0], folder)
    place = Place(data=folder)
    place.folder.mkdir()
    with (
        closing(open_sqlite(place.database, writer="control")) as store,
        closing(AuditLog.open(place.logs, "decisions")) as log,
    ):
        made = stop(store, ("session", sent[2]), mode="stop", author="ada", reason="loops")
        for number, key in enumerate((sent[2], "somebody-else", sent[2])):
            log.append({"kind": "decision", "decision_id": f"dec-{number}", "session_key": key})
        log.append({"kind": "decision", "decision_id": "dec-3", "session_key": sent[2], "stop_id": made.stop_id})
        anchor_logs(store, [log], author="control")
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path) -> Run:
    """Run `headgate audit` on that folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_DATA", str(data))
    return runner(capsys, "audit")


def _json(result: Result) -> Any:
    assert 0 == result.code, result.err
    return json.loads(result.out)


def _edit(data: Path) -> None:
    path = next(Place(data=data).logs.glob("decisions-*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"decision_id":"dec-1"', b'"decision_id":"dec-9"'))


def test_chains_that_nobody_touched_are_whole(run: Run) -> None:
    """Each with how many records it has."""
    found = _json(run("verify", "--json"))[0]
    assert [("journal", 3), ("log", 4)] == [(one["kept"], one["number"]) for one in found["chains"]]
    assert [] == found["findings"]
    assert "Every chain is whole." in run("verify").out


def test_an_edited_record_is_named(run: Run, data: Path) -> None:
    """File, number and what is wrong; the exit code is 1."""
    _edit(data)
    result = run("verify")
    assert 1 == result.code
    assert "decisions-000000000001.jsonl, record 2 of decisions: it was changed: its digest is another" in result.out
    assert 1 == len(json.loads(run("verify", "--json").out)[0]["findings"])


def test_heads_that_were_kept_find_what_the_folder_alone_cannot(run: Run, data: Path, tmp_path: Path) -> None:
    """Whoever can write the whole folder can make a shorter journal that fits; not the head that is elsewhere."""
    heads = tmp_path / "heads.json"
    heads.write_text(run("anchor").out)
    assert 0 == run("verify", "--anchor", str(heads)).code
    place = Place(data=data)
    place.database.unlink()
    for path in place.logs.glob("*.jsonl"):
        path.unlink()
    with closing(open_sqlite(place.database, writer="control")):
        pass
    assert 0 == run("verify").code
    result = run("verify", "--anchor", str(heads))
    assert 1 == result.code
    assert "the chain has 0 records, and 3 were anchored: its end is missing" in result.out


@pytest.mark.parametrize("content", [None, '{"version":1,"time_unix_nano":1,"heads":[]}'])
def test_how_many_heads_were_compared_is_said(run: Run, tmp_path: Path, content: str | None) -> None:
    """Also that none was, though a file of heads was given."""
    heads = tmp_path / "heads.json"
    heads.write_text(content or run("anchor").out)
    result, expected = run("verify", "--anchor", str(heads)), 2 if content is None else 0
    said = (f"Heads that were kept elsewhere, and compared: {expected}." in result.out, "No record was" in result.err)
    assert (0, True, content is not None) == (result.code, *said)


@pytest.mark.parametrize("called", ["id", "prefix", "key"])
def test_a_session_is_exported_and_verified_elsewhere(
    run: Run, sent: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, called: str
) -> None:
    """With its timeline and its own decisions alone; the archive is its owner's, and needs no folder."""
    name = {"id": sent[1], "prefix": sent[1][:8], "key": sent[2]}[called]
    made = _json(run("export", "--session", name, "--out", "evidence.tar.gz", "--json"))[0]
    assert (sent[1], 3, 1) == (made["id"], made["decisions"], made["stops"])
    assert 0o600 == stat.S_IMODE((tmp_path / "evidence.tar.gz").stat().st_mode)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("HEADGATE_DATA", str(elsewhere / "nothing"))
    result = run("verify", "evidence.tar.gz")
    assert 0 == result.code, result.out
    assert f"session {sent[1]}, whole, signed by {made['key_id']}" in result.out
    assert "compare its id" in result.err


def test_the_key_of_an_archive_can_be_pinned(run: Run, data: Path, tmp_path: Path) -> None:
    """By the list of public keys that control keeps; by another one it is refused."""
    run("export", "--session", "somebody-else", "--out", "evidence.tar.gz")
    jwks = Place(data=data).folder / "keys" / "jwks.json"
    assert True is _json(run("verify", "evidence.tar.gz", "--jwks", str(jwks), "--json"))[0]["is_pinned"]
    other = tmp_path / "other.json"
    other.write_text('{"keys":[]}')
    assert 2 == run("verify", "evidence.tar.gz", "--jwks", str(other)).code


def test_a_stop_is_exported(run: Run, data: Path) -> None:
    """With the decision that it denied."""
    with closing(open_sqlite(Place(data=data).database, writer="control")) as store:
        stop_id = str(store.all("stop")[0].body["stop_id"])
    made = _json(run("export", "--stop", stop_id, "--out", "evidence.tar.gz", "--json"))[0]
    assert (1, 1) == (made["decisions"], made["stops"])
    assert 0 == run("verify", "evidence.tar.gz").code


def test_what_nothing_is_known_of_is_not_exported(run: Run, tmp_path: Path) -> None:
    """No archive is left."""
    result = run("export", "--session", "nobody", "--out", "evidence.tar.gz")
    assert 1 == result.code
    assert "nothing is known of session nobody" in result.err
    assert not (tmp_path / "evidence.tar.gz").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "--out", "a.tar.gz"),
        ("export", "--out", "a.tar.gz", "--session", "a", "--stop", "b"),
        ("verify", "a.tar.gz", "--data", "b"),
        ("verify", "--jwks", "a.json"),
        ("verify", "--anchor", "missing.json"),
        ("verify", "missing.tar.gz"),
        ("verify", "a.tar.gz", "--log", "."),
        ("verify", "--log", "missing"),
        ("verify", "--log", "."),
        ("anchor", "--log", "."),
    ],
)
def test_what_does_not_fit_together_is_bad_usage(run: Run, arguments: tuple[str, ...]) -> None:
    """With what to give."""
    assert 2 == run(*arguments).code


def test_a_folder_without_control_says_what_makes_it(run: Run, tmp_path: Path) -> None:
    """And verifying makes nothing."""
    result = run("verify", "--data", str(tmp_path / "empty"))
    assert 1 == result.code
    assert "headgate up" in result.err


def test_the_logs_of_a_gateway_elsewhere_are_verified_alone(run: Run, data: Path, tmp_path: Path) -> None:
    """There is no control state on its machine; a head of them that was kept is compared."""
    logs, heads = str(Place(data=data).logs), tmp_path / "heads.json"
    heads.write_text(run("anchor", "--log", logs).out)
    found = _json(run("verify", "--log", logs, "--anchor", str(heads), "--json"))[0]
    assert [("log", "decisions", 4, 1)] == [
        (one["kept"], one["writer"], one["number"], one["anchors"]) for one in found["chains"]
    ]
    _edit(data)
    assert 1 == run("verify", "--log", logs).code
