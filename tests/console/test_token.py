"""The commands that make, list and revoke tokens."""

import json
import stat
from contextlib import closing
from pathlib import Path

import pytest

from headgate_console.control.place import Place
from headgate_console.testing.commands import Run, runner
from headgate_control.store.opening import open_sqlite
from headgate_processors.credentials.authenticator import CredentialAuthenticator
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.receiver.port import Peer, Sender


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `headgate token` on a folder that does not exist at first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_DATA", str(tmp_path / "data"))

    return runner(capsys, "token")


def _sender(folder: Path, token: str) -> Sender | None:
    peer = Peer(address="10.0.0.1:1", headers={"authorization": f"Bearer {token}"})
    return CredentialAuthenticator(KeyStore(folder))(peer)


def test_a_token_is_printed_once_and_is_good_at_once(run: Run, tmp_path: Path) -> None:
    """The list shows its id and end, and no file of the folder holds it."""
    made = json.loads(run("create", "--role", "gateway", "--name", "g", "--expires", "90d", "--json").out)
    assert Sender(role="gateway", token_id=made["token_id"]) == _sender(tmp_path / "data", made["token"])
    listed = run("list", "--json")
    assert [(made["token_id"], "gateway", "valid", "g")] == [
        (row["token_id"], row["role"], row["state"], row["name"]) for row in json.loads(listed.out)
    ]
    assert made["token"] not in listed.out
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if made["token"].encode() in path.read_bytes()]


def test_a_token_for_people_and_its_revocation(run: Run) -> None:
    """Results are on stdout, what to do with it on stderr."""
    made = run("create", "--role", "client")
    lines = dict(line.split(maxsplit=1) for line in made.out.splitlines())
    assert lines["token"].startswith(f"hgt_{lines['token_id']}_")
    assert "shown this once" in made.err
    assert "revoked" == json.loads(run("revoke", lines["token_id"], "--json").out)["state"]
    assert "revoked" in run("list").out


def test_a_token_can_go_into_a_file_without_being_shown(run: Run, tmp_path: Path) -> None:
    """For a Collector that reads it there; the file is its owner's only."""
    made = run("create", "--role", "collector", "--file", "collector.token", "--json")
    file = tmp_path / "collector.token"
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert "token" not in json.loads(made.out)
    found = _sender(tmp_path / "data", file.read_text())
    assert found is not None
    assert "collector" == found.role


def test_a_token_whose_file_cannot_be_written_is_revoked(run: Run, tmp_path: Path) -> None:
    """Nobody has it; the error names the file, and what to do."""
    made = run("create", "--role", "client", "--file", "nowhere/there.token")
    assert (1, "") == (made.code, made.out)
    assert "nowhere/there.token cannot be written: No such file or directory" in " ".join(made.err.split())
    (kept,) = KeyStore(tmp_path / "data").keys().by_id.values()
    assert kept.revoked_unix_nano is not None


def test_a_folder_that_cannot_be_made_is_named(run: Run, tmp_path: Path) -> None:
    """In a sentence, not a traceback."""
    (tmp_path / "file").write_text("")
    made = run("create", "--role", "client", "--data", "file/store")
    assert (1, "") == (made.code, made.out)
    assert made.err.startswith("headgate: file/store: Not a directory.")


def test_a_certificate_is_let_in_by_name(run: Run) -> None:
    """It needs no token, and is listed and revoked like one."""
    made = json.loads(run("create", "--role", "gateway", "--certificate", "spiffe://a/gateway/b", "--json").out)
    assert "token" not in made
    assert "spiffe://a/gateway/b" == json.loads(run("list", "--json").out)[0]["certificate"]
    assert 0 == run("revoke", made["token_id"]).code


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "--role", "emperor"), "none of client"),
        (("create", "--role", "client", "--expires", "soon"), "--expires"),
        (("create", "--role", "client", "--expires", "0"), "--expires"),
        (("create", "--role", "client", "--certificate", "a", "--file", "b"), "--file"),
        (("revoke", "client-1"), "headgate token list"),
        (("create",), "--role"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_says_what_is_wrong(run: Run, arguments: tuple[str, ...], told: str) -> None:
    """Exit code 2, and the option's name on stderr."""
    result = run(*arguments)
    assert (2, "") == (result.code, result.out)
    assert told in result.err


def test_a_folder_without_tokens_says_how_to_make_one(run: Run) -> None:
    """An empty list is an empty array for programs."""
    assert "headgate token create" in run("list").err
    assert [] == json.loads(run("list", "--json").out)


def test_the_journal_of_control_says_who_made_and_ended_tokens(run: Run, tmp_path: Path) -> None:
    """And why; of the token itself not even the digest."""
    data = tmp_path / "data"
    with closing(open_sqlite(Place(data=data).database, writer="control")) as store:
        made = json.loads(run("create", "--role", "admin", "--name", "ada", "--reason", "on call", "--json").out)
        run("revoke", made["token_id"], "--reason", "lost")
        events = [(one.id, one.action, one.reason, (one.after or {})["state"]) for one in store.events()]
        digests = [one for one in store.events() if "digest" in (one.after or {}) or made["token"] in str(one)]
    expected = [(made["token_id"], "token.create", "on call", "valid"), (made["token_id"], "token.revoke", "lost")]
    assert (expected, "revoked", []) == ([events[0], events[1][:3]], events[1][3], digests)


def test_a_token_that_the_journal_cannot_be_told_of_is_not_made(run: Run, tmp_path: Path) -> None:
    """It says so, and the token is good for nothing; one that is revoked is over all the same."""
    made = json.loads(run("create", "--role", "admin", "--json").out)
    database = Place(data=tmp_path / "data").database
    database.parent.mkdir()
    database.write_text("no database, as it happens, and long enough to be looked at")
    results = run("create", "--role", "admin", "--json"), run("revoke", made["token_id"])
    states = [row["state"] for row in json.loads(run("list", "--json").out)]
    assert (1, 1, ["revoked", "revoked"]) == (results[0].code, results[1].code, states)
