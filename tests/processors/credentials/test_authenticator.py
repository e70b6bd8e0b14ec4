"""Tests of who a credential says sends: tokens, their rotation, certificates, JSON Web Tokens, and every refusal."""

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest

from headgate_processors.credentials.authenticator import CredentialAuthenticator
from headgate_processors.credentials.issuer import ISSUER
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.credentials.web_tokens import LEEWAY_S, WebTokenConfig, WebTokens
from headgate_processors.errors import ForbiddenError, TransientError, UnauthenticatedError
from headgate_processors.receiver.gate import Gate
from headgate_processors.receiver.port import Peer, Role, Sender
from headgate_processors.testing.issuers import TokenIssuer, write_key_file

SECOND_NS = 10**9
NOW = 1_800_000_000 * SECOND_NS
AGENT = "spiffe://headgate/agent/agt-7"
COLLECTOR = "spiffe://headgate/collector/edge"
GATEWAY = "spiffe://headgate/gateway/model-1"


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        """The time, in nanoseconds since the epoch."""
        return self.now


class Bench:
    """A key store, an issuer and the authenticator over both, on one clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.folder = folder
        self.issuer = TokenIssuer()
        self.key_file = write_key_file(folder / "jwks.json", self.issuer)
        self.keys = KeyStore(folder, clock=self.clock)
        web_tokens = WebTokens(WebTokenConfig(keys_file=self.key_file, issuer=None), clock=self.clock)
        self.authenticate = CredentialAuthenticator(KeyStore(folder), web_tokens=web_tokens, clock=self.clock)

    def token(self, role: Role, **fields: object) -> str:
        """The text of a token of the key store."""
        token = self.keys.create(role, **fields).token  # type: ignore[arg-type]
        assert token is not None
        return token

    def sender(self, token: str) -> Sender | None:
        """Who sends with this token."""
        return self.authenticate(_peer(token))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench in a folder of its own."""
    return Bench(tmp_path)


def _peer(token: str) -> Peer:
    return Peer(address="10.0.0.1:5", headers={"authorization": f"Bearer {token}"})


@pytest.mark.parametrize("role", ["client", "collector", "gateway", "runtime", "control", "provider"])
def test_a_token_names_its_role_principal_and_id(bench: Bench, role: Role) -> None:
    """What was said when it was made is what the sender is; the witness follows."""
    issued = bench.keys.create(role, name="x", subject=AGENT)
    found = bench.sender(issued.token or "")
    assert Sender(role=role, subject=AGENT, token_id=issued.credential.token_id) == found


@pytest.mark.parametrize("written", ["Bearer {}", "bearer  {}", "Bearer%20{}"])
def test_a_token_is_good_however_its_header_is_written(bench: Bench, written: str) -> None:
    """Claude Code sends the space as OpenTelemetry's variable has it, percent-encoded."""
    issued = bench.keys.create("client", subject=AGENT)
    header = written.format(issued.token)
    found = bench.authenticate(Peer(address="10.0.0.1:5", headers={"authorization": header}))
    assert Sender(role="client", subject=AGENT, token_id=issued.credential.token_id) == found


def test_without_a_credential_nobody_is_named(bench: Bench) -> None:
    """The listener decides what becomes of a peer that shows nothing."""
    for headers in ({"x-headgate-role": "gateway"}, {"authorization": "Bearer"}, {"authorization": "bearer  "}):
        assert bench.authenticate(Peer(address="127.0.0.1:5", headers=headers)) is None


def test_old_and_new_tokens_are_both_good_until_the_old_one_is_revoked(bench: Bench) -> None:
    """A rotation: make one, give it out, revoke the other; each is seen at once, without a restart."""
    old = bench.keys.create("collector", name="edge")
    assert bench.sender(old.token or "")
    new = bench.token("collector", name="edge")
    assert bench.sender(old.token or "") != bench.sender(new)
    bench.keys.revoke(old.credential.token_id)
    assert bench.sender(new)
    with pytest.raises(UnauthenticatedError, match="was revoked"):
        bench.sender(old.token or "")


@pytest.mark.parametrize(
    ("role", "error"),
    [("client", UnauthenticatedError), ("gateway", UnauthenticatedError), ("collector", TransientError)],
)
def test_an_expired_token_is_refused_and_a_collector_told_to_keep_its_data(
    bench: Bench, role: Role, error: type[Exception]
) -> None:
    """It is good until the moment it expires."""
    token = bench.token(role, lifetime_ns=60 * SECOND_NS)
    bench.clock.now += 60 * SECOND_NS - 1
    assert bench.sender(token)
    bench.clock.now += 1
    with pytest.raises(error, match="has expired"):
        bench.sender(token)


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ("hgt_client-000000000000_" + "0" * 64, UnauthenticatedError),
        ("hgt_collector-000000000000_" + "0" * 64, TransientError),
        ("hgt_", UnauthenticatedError),
        ("hgt_client-000000000000", UnauthenticatedError),
        ("hgt_client-000000000000_" + "0" * 63, UnauthenticatedError),
        ("hgt_collector-", TransientError),
        ("hgt_collector-00000000", TransientError),
        ("hgt_collector-000000000000_", TransientError),
        ("hgt_collector-1_" + "x" * 10_000, UnauthenticatedError),
        ("hgk_client-000000000000_" + "0" * 64, UnauthenticatedError),
        ("sk-proj-1234567890", UnauthenticatedError),
        ("a.b.c", UnauthenticatedError),
        ("..", UnauthenticatedError),
        ("x.y." + "z" * 10_000, UnauthenticatedError),
        ("\udcff\x00", UnauthenticatedError),
    ],
)
def test_a_token_that_nobody_made_is_refused(bench: Bench, token: str, error: type[Exception]) -> None:
    """One that says that it is a Collector's may only not be known here yet. No refusal repeats the token."""
    with pytest.raises(error) as refused:
        bench.sender(token)
    assert len(token) < 3 or token not in str(refused.value)


@pytest.mark.parametrize("header", ["Basic dXNlcjpwYXNz", "hgt_x", "Bearerhgt_x", ""])
def test_a_header_that_is_no_bearer_token_is_a_wrong_credential(bench: Bench, header: str) -> None:
    """It is refused, not passed over: who shows something must be right."""
    with pytest.raises(UnauthenticatedError):
        bench.authenticate(Peer(address="127.0.0.1:1", headers={"authorization": header}))


def test_a_token_with_another_secret_is_refused_for_good(bench: Bench) -> None:
    """Also a Collector's: it is known, and wrong."""
    token = bench.token("collector")
    changed = token[:-1] + ("0" if token[-1] != "0" else "1")
    with pytest.raises(UnauthenticatedError, match="not good"):
        bench.sender(changed)


def test_a_collectors_token_that_is_cut_short_costs_no_data(bench: Bench) -> None:
    """It may have read the file of its token while that was written."""
    token = bench.token("collector")
    for size in range(len("hgt_collector-"), len(token)):
        with pytest.raises(TransientError, match="cut short"):
            bench.sender(token[:size])
    assert bench.sender(token) is not None


def test_where_a_credential_is_needed_an_empty_token_costs_no_data(bench: Bench) -> None:
    """A Collector sends `Bearer` alone while the file of its token is empty; whoever sends nothing is refused."""
    gate = Gate(authenticate=bench.authenticate, needs_credential=True)
    with pytest.raises(TransientError, match="the token is empty"):
        gate(Peer(address="10.0.0.1:5", headers={"authorization": "Bearer"}))
    with pytest.raises(UnauthenticatedError):
        gate(Peer(address="10.0.0.1:5", headers={}))


def test_an_admins_token_may_not_send(bench: Bench) -> None:
    """It is good, but for commands."""
    issued = bench.keys.create("admin")
    with pytest.raises(ForbiddenError):
        bench.sender(issued.token or "")


def _damage(path: Path) -> None:
    path.write_text("{")


def _open_to_all(path: Path) -> None:
    path.chmod(0o666)


def _make_newer(path: Path) -> None:
    path.write_text('{"version": 2, "credentials": []}')


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [_damage, _open_to_all, _make_newer, _make_folder], ids=lambda one: one.__name__)
def test_a_key_store_that_cannot_be_read_makes_every_credential_unavailable(
    bench: Bench, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that was good a moment ago, as it may be revoked; the log says why once."""
    token = bench.token("client")
    assert bench.sender(token)
    content = bench.keys.path.read_bytes()
    spoil(bench.keys.path)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(TransientError):
                bench.sender(token)
    assert 1 == len(caplog.records)
    assert token not in caplog.text
    assert bench.authenticate(Peer(address="127.0.0.1:5", headers={})) is None
    if bench.keys.path.is_dir():
        bench.keys.path.rmdir()
    bench.keys.path.write_bytes(content)
    bench.keys.path.chmod(0o600)
    assert bench.sender(token)


def test_a_certificate_has_the_role_that_the_key_store_gives_its_name(bench: Bench) -> None:
    """The first known name counts; the name is the subject unless another was given."""
    bench.keys.create("gateway", certificate=GATEWAY)
    bench.keys.create("client", certificate="fixer", subject=AGENT)
    found = bench.authenticate(Peer(address="10.0.0.1:5", headers={}, certificate_names=("other", GATEWAY)))
    assert found is not None
    assert ("gateway", GATEWAY) == (found.role, found.subject)
    found = bench.authenticate(Peer(address="10.0.0.1:5", headers={}, certificate_names=("fixer",)))
    assert found is not None
    assert ("client", AGENT) == (found.role, found.subject)
    with pytest.raises(UnauthenticatedError, match="no role"):
        bench.authenticate(Peer(address="10.0.0.1:5", headers={}, certificate_names=("mallory",)))


def test_a_wrong_token_is_refused_whatever_the_certificate(bench: Bench) -> None:
    """A credential that is wrong is never passed over for another."""
    bench.keys.create("gateway", certificate=GATEWAY)
    peer = Peer(address="x", headers={"authorization": "Bearer hgt_a_b"}, certificate_names=(GATEWAY,))
    with pytest.raises(UnauthenticatedError):
        bench.authenticate(peer)


@pytest.mark.parametrize(
    ("audience", "subject", "role"),
    [
        ("headgate-platform", GATEWAY, "gateway"),
        (["headgate-telemetry", "headgate-platform"], COLLECTOR, "collector"),
        ("headgate-platform", AGENT, "client"),
        ("headgate-telemetry", GATEWAY, "client"),
        (["headgate-telemetry"], AGENT, "client"),
    ],
)
def test_a_web_tokens_audience_lets_its_subject_be_what_it_is(
    bench: Bench, audience: object, subject: str, role: Role
) -> None:
    """Only the audience for Headgate's own parts makes a subject more than a client."""
    token = bench.issuer.token(subject, audience=audience, jti="t1")
    assert Sender(role=role, subject=subject, token_id="t1") == bench.sender(token)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "headgate-gateway"},
        {"aud": None},
        {"sub": None},
        {"exp": None},
        {"exp": 1},
        {"exp": True},
        {"exp": "soon"},
        {"exp": [1]},
        {"nbf": 10**10},
        {"nbf": {}},
        {"sub": {"a": 1}},
        {"sub": 7},
    ],
    ids=str,
)
def test_a_web_token_with_wrong_claims_is_refused(bench: Bench, claims: dict[str, object]) -> None:
    """What is missing, of another kind, past or for somebody else is a wrong credential."""
    token = bench.issuer.token(
        **{"subject": AGENT, **{_ARGUMENTS.get(name, name): value for name, value in claims.items()}}
    )
    with pytest.raises(UnauthenticatedError):
        bench.sender(token)


_ARGUMENTS = {"sub": "subject", "aud": "audience"}


def _segment(token: str, index: int, text: str) -> str:
    parts = token.split(".")
    parts[index] = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    return ".".join(parts)


def test_a_forged_web_token_is_refused(bench: Bench) -> None:
    """Another key under the same name, no algorithm, what is public as a shared secret, changed claims."""
    good = bench.issuer.token(GATEWAY)
    forged = [
        TokenIssuer(key_id=bench.issuer.key_id).token(GATEWAY),
        jwt.encode({"sub": GATEWAY, "aud": "headgate-platform", "exp": 10**10}, "", algorithm="none"),
        jwt.encode(
            {"sub": GATEWAY, "aud": "headgate-platform", "exp": 10**10},
            base64.urlsafe_b64decode(bench.issuer.public()["x"] + "="),
            algorithm="HS256",
            headers={"kid": bench.issuer.key_id},
        ),
        _segment(
            good, 1, json.dumps({"sub": "spiffe://headgate/control/x", "aud": "headgate-platform", "exp": 10**10})
        ),
        _segment(good, 0, '{"alg":"ES256","kid":{"a":1}}'),
        _segment(good, 0, '{"alg":"ES256","kid":"key-1","crit":["x"]}'),
        _segment(good, 0, "[" * 4000),
        good[:-3],
        good.replace(".", "..", 1),
    ]
    assert bench.sender(good)
    for token in forged:
        with pytest.raises(UnauthenticatedError) as refused:
            bench.sender(token)
        assert token not in str(refused.value)


@pytest.mark.parametrize(("subject", "error"), [(GATEWAY, UnauthenticatedError), (COLLECTOR, TransientError)])
def test_an_expired_web_token_or_an_unknown_key_lets_a_collector_keep_its_data(
    bench: Bench, subject: str, error: type[Exception]
) -> None:
    """A little lateness is forgiven, since clocks differ; a key that is not in the file yet may come."""
    token = bench.issuer.token(subject, exp=NOW // SECOND_NS)
    bench.clock.now = NOW + (LEEWAY_S - 1) * SECOND_NS
    assert bench.sender(token)
    bench.clock.now = NOW + LEEWAY_S * SECOND_NS
    with pytest.raises(error, match="has expired"):
        bench.sender(token)
    with pytest.raises(error, match="not in the key file"):
        bench.sender(TokenIssuer(key_id="key-2").token(subject))


def test_keys_of_an_issuer_rotate_without_a_restart(bench: Bench) -> None:
    """While both keys are in the file, tokens of both are good; then the old one is unknown."""
    new = TokenIssuer(key_id="key-2")
    tokens = [bench.issuer.token(AGENT), new.token(AGENT)]
    write_key_file(bench.key_file, bench.issuer, new)
    assert all(map(bench.sender, tokens))
    write_key_file(bench.key_file, new)
    assert bench.sender(tokens[1])
    with pytest.raises(UnauthenticatedError):
        bench.sender(tokens[0])


def test_a_key_file_that_cannot_be_read_makes_web_tokens_unavailable(bench: Bench) -> None:
    """Tokens of the key store stay good: they do not need it."""
    bench.key_file.write_text('{"keys": []}')
    with pytest.raises(TransientError):
        bench.sender(bench.issuer.token(AGENT))
    assert bench.sender(bench.token("client"))


def test_a_configured_issuer_must_be_named(bench: Bench) -> None:
    """Tokens of others that share a key file are refused."""
    config = WebTokenConfig(keys_file=bench.key_file, issuer="https://control.example")
    authenticate = CredentialAuthenticator(bench.keys, web_tokens=WebTokens(config, clock=bench.clock))
    assert authenticate(_peer(bench.issuer.token(AGENT, iss="https://control.example")))
    for issuer in (None, "https://mallory.example"):
        with pytest.raises(UnauthenticatedError):
            authenticate(_peer(bench.issuer.token(AGENT, iss=issuer)))


def test_controls_own_tokens_are_good_until_their_key_ends(bench: Bench) -> None:
    """Beside those of a site's issuer; each issuer's keys are good for its own name alone."""
    control = TokenIssuer(key_id="key-2")
    own = bench.folder / "own.json"
    config = WebTokenConfig(keys_file=bench.key_file, issuer="https://idp.example", own_keys_file=own)
    authenticate = CredentialAuthenticator(bench.keys, web_tokens=WebTokens(config, clock=bench.clock))
    token = control.token(AGENT, audience="headgate-telemetry", iss=ISSUER)
    with pytest.raises(UnauthenticatedError):
        authenticate(_peer(token))
    own.write_text(json.dumps({"keys": [{**control.public(), "exp": NOW // 10**9 + 60}]}))
    for stranger in (control.token(AGENT, iss="https://idp.example"), bench.issuer.token(AGENT, iss=ISSUER)):
        with pytest.raises(UnauthenticatedError):
            authenticate(_peer(stranger))
    found = [authenticate(_peer(one)) for one in (token, bench.issuer.token(AGENT, iss="https://idp.example"))]
    bench.clock.now += 60 * 10**9
    with pytest.raises(UnauthenticatedError, match="signed with a key that is not in the key file"):
        authenticate(_peer(token))
    assert ["client", "client"] == [one.role for one in found if one is not None]


def test_a_peer_shows_no_header_when_it_is_printed() -> None:
    """Headers hold secrets, and what is printed ends in logs."""
    assert "hgt_secret" not in repr(_peer("hgt_secret"))
