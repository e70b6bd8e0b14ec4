"""The commands that keep control state: copies, their way back, keys, and what there is."""

import json
import stat
import tarfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate_console.control.place import Place
from headgate_console.testing.commands import Result, Run, runner
from headgate_control.audit.heads import anchor_logs
from headgate_control.audit.log import AuditLog
from headgate_control.identity.launch import Launch, launch, revoke
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.kept import PolicyJournal
from headgate_control.policy.starter.files import starter_bundle
from headgate_control.state import ControlState, State
from headgate_control.stops.commands import resume, stop
from headgate_control.stops.stop import Stop
from headgate_control.store.opening import open_sqlite
from headgate_gateways.link.kept import content_of
from headgate_gateways.link.replica import Replica
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.enrich.hashing import HashKey

MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, team: search}
spec: {models: [{provider: openai, model: "*"}]}
"""


def fill(data: Path) -> None:
    """A stop, four decisions, a token and a hash key."""
    place = Place(data=data)
    place.folder.mkdir(parents=True)
    KeyStore(data).create("admin")
    HashKey.load_or_create(data)
    with (
        closing(open_sqlite(place.database, writer="control")) as store,
        closing(AuditLog.open(place.logs, "decisions")) as log,
    ):
        stop(store, ("team", "payments"), mode="stop", author="ada", reason="loops")
        for number in range(4):
            log.append({"kind": "decision", "decision_id": f"dec-{number}"})
        anchor_logs(store, [log], author="control")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder that control wrote."""
    fill(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path) -> Run:
    """Run `headgate` on that folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_DATA", str(data))
    return runner(capsys)


def _json(result: Result) -> Any:
    assert 0 == result.code, result.err
    return json.loads(result.out)


def _stops(data: Path) -> list[str]:
    with closing(open_sqlite(Place(data=data).database, writer="reader")) as store:
        return [record.id for record in store.all("stop")]


def test_status_says_what_there_is(run: Run) -> None:
    """Chains with how much of them the journal has the head of."""
    found = _json(run("control", "status", "--json"))[0]
    assert (1, None, {}) == (found["stops"], found["running"], found["instances"])
    assert [
        {"kept": "journal", "writer": "control", "records": 3, "anchored": None},
        {"kept": "log", "writer": "decisions", "records": 4, "anchored": 4},
    ] == found["chains"]
    assert "running    no" in run("control", "status").out


def test_status_names_the_policies_that_decide_and_what_is_wrong_with_newer_ones(run: Run, data: Path) -> None:
    """Also that a stop that has expired holds nobody any more."""
    with closing(open_sqlite(Place(data=data).database, writer="control")) as store:
        stop(store, ("team", "search"), mode="pause", author="ada", reason="release", expires_unix_nano=1)
        policies = PolicyJournal(store, Place(data=data).policies, node="control")
        policies.use(starter_bundle())
        policies.refused("a.cedar: unexpected token")
        policies.tell()
    shown = run("control", "status").out
    assert (1, True, True) == (
        _json(run("control", "status", "--json"))[0]["stops"],
        f"policies   {len(starter_bundle().policies)} of control, sha256:" in shown,
        "REFUSED    a.cedar: unexpected token" in shown,
    )


def test_evidence_is_no_backup(run: Run, data: Path, tmp_path: Path) -> None:
    """It says what the file is, and changes nothing."""
    with closing(open_sqlite(Place(data=data).database, writer="control")) as store:
        stop_id = str(store.all("stop")[0].body["stop_id"])
    evidence = str(tmp_path / "evidence.tar.gz")
    assert 0 == run("audit", "export", "--stop", stop_id, "--out", evidence).code
    result = run("control", "restore", evidence, "--data", str(tmp_path / "other"))
    expected = (2, True, False)
    assert expected == (
        result.code,
        "it is an archive of `headgate audit export`" in result.err,
        (tmp_path / "other" / "control").exists(),
    )


def test_a_backup_is_taken_while_control_writes_and_put_back_elsewhere(run: Run, data: Path, tmp_path: Path) -> None:
    """With every stop, decision, token and key; its owner alone may read it."""
    place = Place(data=data)
    with (
        closing(open_sqlite(place.database, writer="control")) as store,
        closing(AuditLog.open(place.logs, "decisions")) as log,
    ):
        log.append({"kind": "decision", "decision_id": "dec-4"})
        stop(store, ("team", "other"), mode="pause", author="ada", reason="release")
        made = _json(run("control", "backup", "copy.tar.gz", "--json"))[0]
    assert made["files"] >= 5
    assert 0o600 == stat.S_IMODE((tmp_path / "copy.tar.gz").stat().st_mode)
    new = tmp_path / "new"
    assert 0 == run("control", "restore", "copy.tar.gz", "--data", str(new)).code
    assert ["pause:team:other", "stop:team:payments"] == _stops(new)
    assert 0 == run("audit", "verify", "--data", str(new)).code
    assert list(KeyStore(data).keys().by_id) == list(KeyStore(new).keys().by_id)
    assert HashKey.load_or_create(data) == HashKey.load_or_create(new)
    with closing(AuditLog.open(Place(data=new).logs, "decisions")) as log:
        assert 6 == log.append({}).number


def test_what_was_there_is_set_aside(run: Run, data: Path) -> None:
    """Nothing is lost by a restore, and a hash key that rows were hashed with stays."""
    run("control", "backup", "copy.tar.gz")
    with closing(open_sqlite(Place(data=data).database, writer="control")) as store:
        stop(store, ("team", "late"), mode="stop", author="ada", reason="late")
    HashKey.rotate(data)
    current = HashKey.load_or_create(data)
    done = _json(run("control", "restore", "copy.tar.gz", "--forget-later", "--json"))[0]
    assert ["control", "credentials.json"] == sorted(Path(path).name.split(".before")[0] for path in done["set_aside"])
    assert all(Path(path).exists() for path in done["set_aside"])
    assert ["stop:team:payments"] == _stops(data)
    assert current == HashKey.load_or_create(data)


@pytest.fixture
def later(run: Run, data: Path) -> Stop:
    """A copy, and what happened after it: one stop more, one that ended, an instance and a token that were revoked."""
    place = Place(data=data)
    grant = parse_manifest(MANIFEST, {}, source="manifest")
    with closing(open_sqlite(place.database, writer="control")) as store:
        made = launch(store, ControlState(store).now.snapshot, Launch(grant=grant, launched_by="ada"))
        run("control", "backup", "copy.tar.gz")
        resume(store, ("team", "payments"), author="ada", reason="mended")
        stop(store, ("team", "old"), mode="stop", author="ada", reason="x", expires_unix_nano=1)
        revoke(store, made.instance.instance_id, [], author="ada", reason="lost")
        late = stop(store, ("team", "late"), mode="stop", author="ada", reason="it loops")
    for token_id in KeyStore(data).keys().by_id:
        KeyStore(data).revoke(token_id)
    return late


def _state(data: Path) -> State:
    with closing(open_sqlite(Place(data=data).database, writer="reader")) as store:
        return ControlState(store).now


def test_what_was_stopped_and_revoked_since_a_copy_holds_on_and_is_named(run: Run, data: Path, later: Stop) -> None:
    """Above every epoch that anybody has seen, in chains that are whole; what has expired is left out."""
    result = run("control", "restore", "copy.tar.gz")
    assert 0 == result.code, result.err
    for text in (
        "not in the copy: stop of team late (it loops); it holds on.",
        "ended since the copy was made: stop of team payments; it holds again until: headgate resume team payments",
        f"Stops go on from epoch {_state(data).snapshot.stops.epoch:,}.",
        "; revoked again.",
    ):
        assert text in " ".join(result.out.split())
    state = _state(data)
    assert {("team", "late"): state.snapshot.stops.epoch, ("team", "payments"): 1} == {
        one.key: one.epoch for one in state.snapshot.stops
    }
    assert (True, ["revoked"], {"revoked"}) == (
        state.snapshot.stops.epoch > later.epoch,
        [one.state for one in state.snapshot.instances.values()],
        {one.state(1) for one in KeyStore(data).keys().by_id.values()},
    )
    assert later.stop_id in {one.stop_id for one in state.snapshot.stops}
    assert 0 == run("audit", "verify").code


def test_no_restore_lowers_the_epoch(run: Run, data: Path, later: Stop) -> None:
    """Whether or not anything is kept, and however little is known of what was there."""
    first = _json(run("control", "restore", "copy.tar.gz", "--forget-later", "--json"))[0]
    again = _json(run("control", "restore", "copy.tar.gz", "--json"))[0]
    assert ([later.stop_id], False) == ([one["stop_id"] for one in first["stops_not_in_copy"]], first["kept"])
    assert [] == again["stops_not_in_copy"]
    Place(data=data).database.write_bytes(b"damaged" * 1_000)
    blind = run("control", "restore", "copy.tar.gz")
    assert 0 == blind.code
    assert "the state that was there cannot be read" in " ".join(blind.err.split())
    assert later.epoch < first["epoch"] < again["epoch"]
    assert first["epoch"] <= _state(data).snapshot.stops.epoch


def test_a_stop_that_only_a_gateway_knows_is_kept(run: Run, data: Path, later: Stop, tmp_path: Path) -> None:
    """On a new machine there is nothing else to ask; its epoch counts, too."""
    replica = Replica(state=replace(_state(data), position=9))
    stops = replica.state.snapshot.stops
    ahead = replace(replica.state.snapshot, stops=replace(stops, epoch=9_000_000_007))
    replica.state = replace(replica.state, snapshot=ahead)
    (tmp_path / "control.json").write_bytes(content_of(replica))
    new = ("--data", str(tmp_path / "new"))
    done = _json(run("control", "restore", "copy.tar.gz", "--gateway", "control.json", *new, "--json"))[0]
    assert (9_000_000_008, [later.stop_id], 1) == (
        done["epoch"],
        [one["stop_id"] for one in done["stops_not_in_copy"]],
        len(done["instances_revoked_since"]),
    )
    assert ["stop:team:late", "stop:team:payments"] == _stops(tmp_path / "new")
    (tmp_path / "control.json").write_text("{}")
    assert 2 == run("control", "restore", "copy.tar.gz", "--gateway", "control.json").code


def test_control_that_runs_is_not_restored(run: Run, data: Path) -> None:
    """Whoever has it is named."""
    run("control", "backup", "copy.tar.gz")
    with closing(AuditLog.open(Place(data=data).logs, "decisions")):
        assert "process" in _json(run("control", "status", "--json"))[0]["running"]
        result = run("control", "restore", "copy.tar.gz")
    assert 1 == result.code
    assert "stop it first" in result.err
    assert ["stop:team:payments"] == _stops(data)


@pytest.mark.parametrize("change", ["cut", "edited", "nonsense", "missing", "outside"])
def test_a_copy_that_is_not_whole_changes_nothing(run: Run, data: Path, tmp_path: Path, change: str) -> None:
    """Whatever is wrong with it."""
    path = tmp_path / "copy.tar.gz"
    run("control", "backup", str(path))
    content = path.read_bytes()
    match change:
        case "cut":
            path.write_bytes(content[:-200])
        case "edited":
            value = bytearray(content)
            value[len(value) // 2] ^= 1
            path.write_bytes(value)
        case "nonsense":
            path.write_bytes(b"nonsense")
        case "missing":
            path.unlink()
        case "outside":
            (tmp_path / "manifest.json").write_text(
                '{"version":1,"created_unix_nano":1,"members":{"../evil":{"sha256":"","bytes":0}}}'
            )
            (tmp_path / "evil").write_bytes(b"")
            with tarfile.open(path, "w:gz") as tar:
                tar.add(tmp_path / "manifest.json", "manifest.json")
                tar.add(tmp_path / "evil", "../evil")
    assert 2 == run("control", "restore", str(path)).code
    assert ["stop:team:payments"] == _stops(data)
    assert [] == [one.name for one in data.iterdir() if "before-restore" in one.name or one.name.startswith(".restore")]


def test_a_copy_with_a_fault_in_a_chain_is_not_put_back(run: Run, data: Path) -> None:
    """It was edited before it was copied; the record is named."""
    path = next(Place(data=data).logs.glob("*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"dec-1", b"dec-9"))
    run("control", "backup", "copy.tar.gz")
    result = run("control", "restore", "copy.tar.gz")
    assert 1 == result.code
    assert "the copy is not whole: decisions-000000000001.jsonl, record 2: it was changed" in result.err


def test_signing_keys_are_rotated_and_listed(run: Run, data: Path) -> None:
    """The journal says who did, and no private half is shown."""
    first = _json(run("control", "keys", "list", "--json"))[0]["key_id"]
    made = _json(run("control", "keys", "rotate", "--json"))[0]["key_id"]
    listed = run("control", "keys", "list", "--json")
    assert [(made, "signing"), (first, "verifying")] == [(one["key_id"], one["state"]) for one in _json(listed)]
    stolen = run("control", "keys", "rotate", "--overlap", "0s")
    assert "what was signed before is refused" in stolen.out
    assert ["signing", "retired", "retired"] == [
        one["state"] for one in _json(run("control", "keys", "list", "--json"))
    ]
    assert "PRIVATE" not in listed.out
    with closing(open_sqlite(Place(data=data).database, writer="reader")) as store:
        events = [event for event in store.events() if event.action == "keys.rotate"]
    assert (2, made) == (len(events), events[0].id)
    assert 0 == run("audit", "verify").code


def test_the_hash_key_is_rotated_for_the_next_start(run: Run, data: Path) -> None:
    """The one before stays in its file."""
    before = HashKey.load_or_create(data)
    made = _json(run("control", "keys", "rotate-hash", "--json"))[0]["hash_key_id"]
    assert made == HashKey.load_or_create(data).key_id != before.key_id
    assert (data / "keys" / f"hash-{before.key_id}.key").exists()
    assert 0o600 == stat.S_IMODE((data / "keys" / f"hash-{made}.key").stat().st_mode)


def test_a_file_that_is_there_is_not_written_over(run: Run, tmp_path: Path) -> None:
    """Nor is anything copied where there is no control."""
    (tmp_path / "copy.tar.gz").write_text("mine")
    assert 1 == run("control", "backup", "copy.tar.gz").code
    assert 1 == run("control", "backup", "other.tar.gz", "--data", str(tmp_path / "empty")).code
    assert 1 == run("control", "status", "--data", str(tmp_path / "empty")).code


def test_postgresql_is_copied_by_its_own_tools(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says so."""
    monkeypatch.setenv("HEADGATE_CONTROL__DATABASE", "postgresql://headgate@127.0.0.1:1/headgate")
    result = run("control", "backup", "copy.tar.gz")
    assert 2 == result.code
    assert "pg_dump" in result.err
