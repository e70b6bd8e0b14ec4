"""Who may command, what an agent's environment is, and what the receiver hears of instances."""

import json
import subprocess
from pathlib import Path

import pytest

from headgate_console.control import registry_file
from headgate_console.control.callers import callers_of, kept_token, telemetry_token
from headgate_console.control.registry_file import write_registry
from headgate_console.control.surroundings import agent_environment, export_lines
from headgate_control.identity.directory import Directory, DirectoryFile
from headgate_control.identity.instance import Instance
from headgate_control.server.doors import Caller
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.credentials.tokens import CredentialRole
from headgate_processors.documents import parse_document
from headgate_processors.enrich.served import ServedRegistry

NOW = 1_000


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    """The tokens of a fresh folder."""
    return KeyStore(tmp_path)


def instance(instance_id: str, **more: object) -> Instance:
    """An instance of which only this is known."""
    told = {"manifest_digest": "sha256:0", "root": instance_id, "state": "created", "created_unix_nano": NOW}
    return Instance.read({"instance_id": instance_id, **told, **more})


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("admin", "operator"),
        ("gateway", "gateway"),
        ("runtime", "gateway"),
        ("client", None),
        ("collector", None),
        ("control", None),
        ("provider", None),
    ],
)
def test_a_token_opens_control_by_its_role(keys: KeyStore, role: CredentialRole, expected: str | None) -> None:
    """Those of agents, Collectors and records open nothing."""
    issued = keys.create(role, name="eu-1")
    found = callers_of(keys)(str(issued.token))
    assert (None if expected is None else Caller(role=expected, name="eu-1")) == found  # type: ignore[arg-type]


def test_a_token_that_is_over_or_forged_is_nobodys(keys: KeyStore) -> None:
    """Revoked, expired, changed in its last digit, cut short, or none at all."""
    good, late, gone = keys.create("admin"), keys.create("admin", lifetime_ns=1), keys.create("admin")
    keys.revoke(gone.credential.token_id)
    text = str(good.token)
    forged = text[:-1] + ("0" if text[-1] != "0" else "1")
    find = callers_of(keys)
    assert find(text) is not None
    assert [None] * 6 == [find(one) for one in (str(late.token), str(gone.token), forged, text[:-1], "", "hgt_")]


def test_a_token_is_kept_until_it_is_good_no_more(keys: KeyStore, tmp_path: Path) -> None:
    """Then it is made anew: when its file is gone, is garbage, is of another folder, or its token was revoked."""
    path = tmp_path / "kept" / "admin.token"
    first = kept_token(keys, "admin", path)
    assert (first, 0o600) == (kept_token(keys, "admin", path), path.stat().st_mode & 0o777)
    found = [first]
    for content in (None, b"\xff\n", b"", str(KeyStore(tmp_path / "kept").create("admin").token).encode()):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        found.append(kept_token(keys, "admin", path))
    keys.revoke(found[-1].removeprefix("hgt_").rpartition("_")[0])
    found.append(kept_token(keys, "admin", path))
    assert len(found) == len(set(found))
    assert path.read_text().strip() == found[-1]


def test_whoever_kept_a_copy_of_a_token_that_was_replaced_is_nobody(keys: KeyStore, tmp_path: Path) -> None:
    """Only those made for the file end, and they are told; what people made themselves stays good."""
    path, told = tmp_path / "admin.token", list[str]()
    own = keys.create("admin", name="ada").credential.token_id
    first = kept_token(keys, "admin", path, replaced=told.extend)
    assert [] == told
    path.unlink()
    second = kept_token(keys, "admin", path, replaced=told.extend)
    find = callers_of(keys)
    assert (None, "admin") == (find(first), getattr(find(second), "name", None))
    assert [first.removeprefix("hgt_").rpartition("_")[0]] == told
    assert "valid" == keys.keys().by_id[own].state(NOW)


def test_a_token_that_cannot_be_kept_is_revoked(keys: KeyStore, tmp_path: Path) -> None:
    """Nobody has it, so nobody may use it."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        kept_token(keys, "admin", tmp_path / "file" / "admin.token")
    assert ["revoked"] == [one.state(NOW) for one in keys.keys().by_id.values()]


def test_a_telemetry_token_stands_for_its_instance(keys: KeyStore) -> None:
    """And lives as long; one whose time is over already has a token that is."""
    make = telemetry_token(keys)
    make(instance("ai-1"))
    make(instance("ai-2", expires_unix_nano=NOW))
    found = list(keys.keys().by_id.values())
    assert [("client", "ai-1"), ("client", "ai-2")] == [(one.role, one.subject) for one in found]
    assert [None, 1] == [
        None if one.expires_unix_nano is None else one.expires_unix_nano - one.created_unix_nano for one in found
    ]


def test_the_receiver_reads_what_control_writes(tmp_path: Path) -> None:
    """A parent that is not among them is left out, so that the file stands for itself."""
    path = tmp_path / "registry.json"
    made = [
        instance("ai-1", team="payments", user="ada"),
        instance("ai-2", parent="ai-1"),
        instance("ai-3", parent="ai-0"),
    ]
    write_registry(path, made, Directory())
    written = json.loads(path.read_bytes())["instances"]
    assert ("payments", "ada") == (written["ai-1"]["team"], written["ai-1"]["user"])
    assert ("ai-1", None) == (written["ai-2"]["parent"], written["ai-3"].get("parent"))
    assert "state" not in written["ai-1"]


FILE = """
users: {ada: {team: payments, name: Ada}}
services: {ci: {owner: ada}}
workflows: {fix-tests: {task_class: repair}}
repos: {acme/calc: {team: payments, environment: production, sensitivity: restricted, urls: ["git@x:acme/calc.git"]}}
resources: {ledger: {environment: staging}}
"""


def test_the_receiver_fills_columns_from_the_directory(tmp_path: Path) -> None:
    """Of instances that control has registered, and of agents that nobody has and that name their repository."""
    directory = parse_document(FILE, DirectoryFile, source="people.yaml").directory()
    made = [
        instance("ai-1", repo="acme/calc", risk_tier="high", workflow="fix-tests"),
        instance("ai-2", repo="acme/calc", resource="ledger"),
    ]
    write_registry(tmp_path / "registry.json", made, directory)
    registry = ServedRegistry.load(tmp_path / "registry.json", None)
    one, two, nobody = (
        registry.resolve(claims, agent_name=None)
        for claims in (
            {"headgate.instance.id": "ai-1"},
            {"headgate.instance.id": "ai-2", "deployment.environment": "dev"},
            {"vcs.repository.url.full": "https://x/acme/calc.git", "headgate.user.id": "ada"},
        )
    )
    assert ("production", "high", "repair") == (one.environment, one.risk_tier, one.task_class)
    assert "staging" == two.environment
    assert ("acme/calc", "production", "payments") == (nobody.repo, nobody.environment, nobody.team)


def test_the_registry_holds_the_last_instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at most."""
    monkeypatch.setattr(registry_file, "INSTANCES_MAX", 2)
    write_registry(tmp_path / "registry.json", [instance(f"ai-{number}") for number in (3, 1, 2)], Directory())
    assert ["ai-2", "ai-3"] == sorted(json.loads((tmp_path / "registry.json").read_bytes())["instances"])


def test_lines_for_a_shell_give_what_was_meant() -> None:
    """Whatever is in the values."""
    environment = dict(
        agent_environment(
            instance_id="ai-1",
            gateway_key="hgk_'; echo $HOME `id` \"",
            telemetry_token="hgt_1",
            control="127.0.0.1:1",
            gateway="[::1]:2",
            otlp="127.0.0.1:3",
        )
    )
    script = "\n".join([*export_lines(environment), *(f'printf "%s\\0" "${name}"' for name in environment)])
    done = subprocess.run(["bash", "-euc", script], check=True, capture_output=True, text=True)
    assert [*environment.values(), ""] == done.stdout.split("\0")
    assert environment["OPENAI_BASE_URL"] == environment["OPENAI_API_BASE"]
    assert ["otlp"] * 3 == [environment[f"OTEL_{signal}_EXPORTER"] for signal in ("TRACES", "METRICS", "LOGS")]
    assert ("http://[::1]:2/openai/v1", "http://[::1]:2/anthropic", "authorization=Bearer%20hgt_1") == (
        environment["OPENAI_BASE_URL"],
        environment["ANTHROPIC_BASE_URL"],
        environment["OTEL_EXPORTER_OTLP_HEADERS"],
    )


@pytest.mark.parametrize(
    ("otlp", "expected"),
    [("127.0.0.1:4318", "http://127.0.0.1:4318"), ("https://h.example:4318", "https://h.example:4318")],
)
def test_telemetry_goes_where_the_receiver_listens_with_tls_where_it_has_a_certificate(
    otlp: str, expected: str
) -> None:
    """An address alone is one in clear."""
    environment = agent_environment(
        instance_id="ai-1", gateway_key="hgk_1", telemetry_token="hgt_1", control="h:1", gateway="h:2", otlp=otlp
    )
    assert expected == environment["OTEL_EXPORTER_OTLP_ENDPOINT"]
