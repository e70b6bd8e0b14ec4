"""An archive of evidence verifies with nothing but itself, and says which member was touched."""

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.api_jws import PyJWS

from headgate_control.audit.archive import TYPE, Exported, Sources, export
from headgate_control.audit.archive_check import ArchiveVerdict, check_archive
from headgate_control.audit.chain import Chain
from headgate_control.audit.evidence import Subject
from headgate_control.audit.heads import Head, heads
from headgate_control.audit.log import AuditLog
from headgate_control.identity.signing_keys import SigningKeys
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.kept import PolicyJournal
from headgate_control.stops.commands import stop
from headgate_control.store.opening import open_sqlite, read_sqlite
from headgate_control.store.record import Change
from headgate_processors.errors import ConfigError

SESSION = Subject(kind="session", id="5" * 32, keys=frozenset({"sess-1"}), trace_ids=frozenset({"a" * 32}))
ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def decision(name: str, **more: object) -> dict[str, object]:
    """A line of the decision log."""
    return {"kind": "decision", "decision_id": name, "instance_id": "ai-1", "effect": "allow", **more}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two sessions, one of which was stopped; of the secrets of the other nothing may leave."""
    with (
        closing(open_sqlite(tmp_path / "control.sqlite", writer="control")) as store,
        closing(AuditLog.open(tmp_path / "log", "gateway")) as log,
        closing(AuditLog.open(tmp_path / "log", "budgets")) as budgets,
    ):
        for name in ("ai-1", "ai-2"):
            store.change(
                [Change(kind="instance", id=name, body={"instance_id": name})], author="ada", action="instance.create"
            )
        made = stop(store, ("session", "sess-1"), mode="stop", author="ada", reason="loops")
        for number in range(6):
            session = {"session_key": "sess-1"} if number % 2 else {"session_key": "other", "instance_id": "ai-2"}
            log.append(decision(f"dec-{number}", reservation_id=f"dec-{number}", **session))
            budgets.append({"kind": "settle", "reservation_id": f"dec-{number}"})
        log.append(decision("dec-6", trace_id="a" * 32, effect="deny", stop_id=made.stop_id))
        log.append(decision("dec-7", session_key="other", reason="of somebody else"))
    return tmp_path


@pytest.fixture
def exported(site: Path) -> Callable[..., Exported]:
    """Writes the archive of a subject."""

    def made(subject: Subject = SESSION) -> Exported:
        rows: Mapping[str, Any] = {"timeline": [{"seq": 1, "title": "a task"}], "stop_effects": []}
        with closing(read_sqlite(site / "control.sqlite")) as store:
            keys = SigningKeys.open(site / "keys")
            sources = Sources(store=store, logs=site / "log", keys=keys, rows=rows, clock=lambda: 7)
            return export(subject, sources, site / "evidence.tar.gz")

    return made


@pytest.fixture
def archive(exported: Callable[..., Exported]) -> Path:
    """An archive of the session."""
    return exported().path


def members(path: Path) -> dict[str, bytes]:
    """What is in an archive."""
    with tarfile.open(path) as tar:
        return {info.name: content.read() for info in tar if (content := tar.extractfile(info))}


def packed(path: Path, content: Mapping[str, bytes]) -> Path:
    """An archive that somebody else packed."""
    with tarfile.open(path, "w:gz") as tar:
        for name, value in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(value)
            tar.addfile(info, io.BytesIO(value))
    return path


def resigned(path: Path, content: Mapping[str, bytes]) -> Path:
    """An archive with other members, signed anew by control's own key."""
    manifest = orjson.loads(content["manifest.json"])
    for name, value in content.items():
        if name in manifest["members"]:
            manifest["members"][name] = {"sha256": sha256(value).hexdigest(), "bytes": len(value)}
    key_id, private = SigningKeys.open(path.parent / "keys").signing()
    told = orjson.dumps(manifest)
    signature = PyJWS().encode(told, private, algorithm="ES256", headers={"kid": key_id, "typ": TYPE})
    return packed(path, {**content, "manifest.json": told, "manifest.jws": signature.encode()})


def flaws(verdict: ArchiveVerdict) -> list[tuple[str, str]]:
    """What is wrong, and where."""
    return [(flaw.member, flaw.problem) for flaw in verdict.flaws]


def test_an_archive_of_a_session_verifies_by_itself(exported: Callable[..., Exported]) -> None:
    """And holds its decisions, its stop, its instance, and nothing that others did."""
    made = exported()
    verdict = check_archive(made.path)
    assert ([], False, made.key_id) == (flaws(verdict), verdict.is_pinned, verdict.key_id)
    assert {"created_unix_nano": 7, "kind": "session", "id": "5" * 32, "keys": ["sess-1"]} == verdict.about
    found = members(made.path)
    decisions = [orjson.loads(line)["decision_id"] for line in found["decisions.jsonl"].splitlines()]
    assert ["dec-1", "dec-3", "dec-5", "dec-6"] == decisions
    assert (4, 1, 3) == (made.decisions, made.stops, made.chains)
    everything = b"".join(found.values())
    assert b"ai-1" in everything
    assert b"ai-2" not in everything
    assert b"of somebody else" not in everything
    assert 3 == found["proof/log-budgets.jsonl"].count(b"settle")


def test_an_archive_of_a_stop_holds_what_it_denied(exported: Callable[..., Exported], site: Path) -> None:
    """With who was stopped, by whom and why."""
    with closing(read_sqlite(site / "control.sqlite")) as store:
        stop_id = str(store.all("stop")[0].body["stop_id"])
    made = exported(Subject(kind="stop", id=stop_id))
    assert ([], 1, 1) == (flaws(check_archive(made.path)), made.decisions, made.stops)
    assert "loops" == orjson.loads(members(made.path)["stops.jsonl"])["reason"]


def test_an_archive_of_a_stop_holds_whom_it_names_and_the_calls_that_it_cut(
    exported: Callable[..., Exported], site: Path
) -> None:
    """The instance with its manifest though nobody has met the stop, and the decision that had let the call run."""
    with closing(open_sqlite(site / "control.sqlite", writer="control")) as store:
        for change in (
            Change(kind="manifest", id="sha256:m", body={"levels": []}),
            Change(kind="instance", id="ai-1", body={"instance_id": "ai-1", "manifest_digest": "sha256:m"}),
        ):
            store.change([change], author="ada", action="instance.create")
        made = stop(store, ("instance", "ai-1"), mode="stop", author="ada", reason="loops")
    archive = exported(Subject(kind="stop", id=made.stop_id, decision_ids=frozenset({"dec-0"}))).path
    found = {name: content.splitlines() for name, content in members(archive).items()}
    names = {
        "decisions": [orjson.loads(line)["decision_id"] for line in found["decisions.jsonl"]],
        "instances": {orjson.loads(line)["id"] for line in found["instances.jsonl"]},
        "manifests": [orjson.loads(line)["id"] for line in found["manifests.jsonl"]],
    }
    expected = {"decisions": ["dec-0"], "instances": {"ai-1", "ai-2"}, "manifests": ["sha256:m"]}
    assert ([], expected) == (flaws(check_archive(archive)), names)


def test_an_archive_holds_the_policies_that_decided(exported: Callable[..., Exported], site: Path) -> None:
    """Those that are kept, with the event that says so; others not."""
    with (
        closing(open_sqlite(site / "control.sqlite", writer="control")) as store,
        closing(AuditLog.open(site / "log", "gateway")) as log,
    ):
        journal = PolicyJournal(store, site / "policies", node="control")
        for text in ("permit(principal, action, resource);", "forbid(principal, action, resource);"):
            bundle = bundle_of({"a.cedar": f'@id("a") {text}'})
            journal.use(bundle)
        journal.tell()
        log.append(decision("dec-8", session_key="sess-1", policy_digest=bundle.digest))
    archive = exported().path
    texts = [content for name, content in members(archive).items() if name.startswith("policies/")]
    assert ([], 1, bundle.digest) == (flaws(check_archive(archive)), len(texts), orjson.loads(texts[0])["digest"])


@pytest.mark.parametrize("member", ["instances.jsonl", "decisions.jsonl", "stops.jsonl"])
def test_what_is_said_without_a_proof_is_found(archive: Path, member: str) -> None:
    """Also where it is signed."""
    content = members(archive)
    content[member] += content[member].splitlines(keepends=True)[0].replace(b"ai-1", b"ai-9").replace(b"loops", b"loop")
    assert [(member, "it does not say what the records in proof/ say")] == flaws(
        check_archive(resigned(archive, content))
    )


def test_the_key_is_compared_with_those_that_are_trusted(exported: Callable[..., Exported], site: Path) -> None:
    """Another site's keys are not."""
    made = exported()
    own = (site / "keys" / "jwks.json").read_bytes()
    SigningKeys.open(site / "other")
    other = (site / "other" / "jwks.json").read_bytes()
    assert ([], True) == (flaws(verdict := check_archive(made.path, pinned=own)), verdict.is_pinned)
    assert [("jwks.json", f"it is signed by {made.key_id}, which is none of the trusted keys")] == flaws(
        check_archive(made.path, pinned=other)
    )
    with pytest.raises(ConfigError, match="no JWKS"):
        check_archive(made.path, pinned=b"{}")


def test_heads_that_were_kept_are_compared(exported: Callable[..., Exported], site: Path) -> None:
    """One that was kept between is found in the proof; another chain has another one."""
    with closing(read_sqlite(site / "control.sqlite")) as store:
        kept = heads(store, site / "log")
    verdict = check_archive(exported().path, anchors=kept)
    assert ([], 3) == (flaws(verdict), verdict.compared)
    wrong = Head(kept="log", writer="gateway", number=7, digest="0" * 64)
    assert [("proof/log-gateway.jsonl", "record 7 is not the one of the head that was kept")] == flaws(
        check_archive(exported().path, anchors=[wrong])
    )


@ANY
@given(st.data())
def test_any_byte_of_any_member_that_is_changed_is_found(archive: Path, data: st.DataObject) -> None:
    """In the member that it is in; what is signed is told by the signature."""
    found = members(archive)
    name = data.draw(st.sampled_from([name for name, value in found.items() if value]))
    value = bytearray(found[name])
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    changed = packed(archive.with_name("changed.tar.gz"), {**found, name: bytes(value)})
    named = {member for member, _ in flaws(check_archive(changed))}
    signed = {"manifest.json", "manifest.jws", "jwks.json"}
    assert named
    assert named <= (signed if name in signed else {name})


@ANY
@given(st.data())
def test_any_byte_of_the_file_that_is_changed_is_found(archive: Path, data: st.DataObject) -> None:
    """But for the header of gzip, which says nothing."""
    value = bytearray(archive.read_bytes())
    value[data.draw(st.integers(10 + len("packed") + 1, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    changed = archive.with_name("changed.tar.gz")
    changed.write_bytes(value)
    assert [] != flaws(check_archive(changed))


def test_members_that_are_missing_added_doubled_or_moved_are_found(exported: Callable[..., Exported]) -> None:
    """Each by its name."""
    path = exported().path
    found = members(path)
    less = {name: value for name, value in found.items() if name != "decisions.jsonl"}
    assert [("decisions.jsonl", "it is missing")] == flaws(check_archive(packed(path, less)))
    assert [("extra.txt", "the manifest does not name it")] == flaws(
        check_archive(packed(path, {**found, "extra.txt": b"x"}))
    )
    moved = {**less, "manifest.json": found["manifest.json"]}
    first = {"timeline.jsonl": found["timeline.jsonl"], **moved}
    assert "manifest.json" == flaws(check_archive(packed(path, first)))[0][0]


def test_whoever_has_the_key_and_not_the_log_cannot_add_a_decision(exported: Callable[..., Exported]) -> None:
    """Whatever is signed must also be in a chain, and a chain has one end."""
    forged = Chain("gateway", number=8, head="f" * 64).add(decision("dec-9", session_key="sess-1"))
    path = exported().path
    found = members(path)
    assert ("proof/log-gateway.jsonl", "record 9 of gateway: it does not follow the record before it") in flaws(
        check_archive(
            resigned(path, {**found, "proof/log-gateway.jsonl": found["proof/log-gateway.jsonl"] + forged.line()})
        )
    )
    more = found["decisions.jsonl"] + orjson.dumps(decision("dec-9")) + b"\n"
    assert [("decisions.jsonl", "it does not say what the records in proof/ say")] == flaws(
        check_archive(resigned(path, {**found, "decisions.jsonl": more}))
    )


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"nonsense", id="nonsense"),
        pytest.param(gzip.compress(b"nonsense"), id="packed nonsense"),
        pytest.param(gzip.compress(b"\0" * 10_240), id="packed nothing"),
    ],
)
def test_what_is_no_archive_is_told_so(tmp_path: Path, content: bytes) -> None:
    """As a flaw, not as a failure."""
    path = tmp_path / "evidence.tar.gz"
    path.write_bytes(content)
    assert 1 == len(check_archive(path).flaws)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(ConfigError, match="cannot read"):
        check_archive(tmp_path / "evidence.tar.gz")
