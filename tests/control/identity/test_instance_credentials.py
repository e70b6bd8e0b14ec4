"""One port tells which instance shows a credential, at which door, and nobody else's is good there."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import RSAAlgorithm
from pydantic import ValidationError

from headgate_control.decide.core import Snapshot
from headgate_control.identity.credentials import Credentials, Identified
from headgate_control.identity.foreign_tokens import ForeignTokens
from headgate_control.identity.gateway_key import GatewayKey, new_key
from headgate_control.identity.instance import Instance
from headgate_control.identity.issuer_keys import (
    ANSWER_BYTES_MAX,
    FETCH_AGAIN_S,
    FETCH_EVERY_S,
    fetched_keys,
    parsed_keys,
)
from headgate_control.identity.issuers_file import ClaimNames, ForeignIssuer
from headgate_control.identity.signing_keys import SigningKeys
from headgate_control.identity.web_tokens import InstanceTokens, TokenVerifier
from headgate_control.state import State
from headgate_control.testing.identities import NOW, SECOND, SetClock
from headgate_processors.credentials.issuer import public_jwk
from headgate_processors.errors import TransientError, UnauthenticatedError

ISSUER = "https://login.acme.example"
AGENT = ClaimNames(instance="agent")


class Site:
    """A site with one instance, its key, and an identity provider of its own."""

    def __init__(self, keys: SigningKeys, clock: SetClock, agent: Instance, folder: Path) -> None:
        self.clock, self.agent = clock, agent
        self.text, self.key = new_key(agent.instance_id, created_unix_nano=NOW, expires_unix_nano=None)
        self.tokens = InstanceTokens(keys, clock=clock)
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / "idp.json"
        self.file.write_text(json.dumps({"keys": [public_jwk(self.private)]}))
        issuer = ForeignIssuer(
            issuer=ISSUER, audience="agents", jwks_file=self.file, claims=ClaimNames(user="email", instance="agent")
        )
        self.foreign = ForeignTokens([issuer], clock=clock)
        self.credentials = Credentials(
            self.state, tokens=TokenVerifier(keys.good, clock=clock), foreign=self.foreign, clock=clock
        )

    def state(self) -> State:
        """What control knows."""
        known: dict[str, GatewayKey] = {self.key.key_id: self.key}
        return State(snapshot=Snapshot(instances={self.agent.instance_id: self.agent}), keys=known)

    def spoken(self, *, private: Any = None, algorithm: str = "ES256", **changes: Any) -> str:
        """A token of the identity provider."""
        claims = {
            "iss": ISSUER,
            "sub": "u-1",
            "aud": "agents",
            "exp": NOW // SECOND + 60,
            "email": "ada@acme.example",
            "agent": self.agent.instance_id,
            "jti": "t-1",
        }
        claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        key_id = public_jwk(self.private)["kid"]
        return jwt.encode(claims, private or self.private, algorithm=algorithm, headers={"kid": key_id})


@pytest.fixture
def site(keys: SigningKeys, clock: SetClock, agent: Instance, tmp_path: Path) -> Site:
    """The site."""
    return Site(keys, clock, agent, tmp_path)


def test_a_gateway_key_is_good_at_gateways_alone(site: Site) -> None:
    """At the other doors it is nobody's."""
    assert Identified(instance_id="ai-1", credential_id=site.key.key_id, kind="gateway_key") == (
        site.credentials.identify(site.text, "gateway")
    )
    assert (None, None) == (
        site.credentials.identify(site.text, "telemetry"),
        site.credentials.identify(site.text, "platform"),
    )
    assert None is site.credentials.identify(site.text[:-1] + "x", "gateway")


@pytest.mark.parametrize("door", ["gateway", "telemetry", "platform"])
def test_a_token_is_good_at_its_own_door(site: Site, door: Any) -> None:
    """And at no other."""
    text = site.tokens.mint(site.agent, f"headgate-{door}")  # type: ignore[arg-type]
    doors: tuple[Any, ...] = ("gateway", "telemetry", "platform")
    assert [door] == [one for one in doors if site.credentials.identify(text, one)]


def test_nothing_of_an_instance_is_good_once_it_is_revoked(site: Site) -> None:
    """Nor of one that nobody knows; one that was stopped is told, for its denial is a decision."""
    text, spoken = site.tokens.mint(site.agent, "headgate-gateway"), site.spoken()
    assert site.credentials.identify(text, "gateway")
    site.agent = replace(site.agent, state="stopped")
    assert site.credentials.identify(text, "gateway")
    site.agent = replace(site.agent, state="revoked")
    assert (None, None) == (site.credentials.identify(text, "gateway"), site.credentials.identify(spoken, "gateway"))
    site.agent = replace(site.agent, instance_id="ai-2", state="created")
    assert None is site.credentials.identify(text, "gateway")


def test_a_token_of_the_sites_own_issuer_names_an_instance(site: Site) -> None:
    """By the claim that is configured; without it, it names a person, and no instance."""
    expected = Identified(instance_id="ai-1", credential_id="t-1", kind="foreign_token", user="ada@acme.example")
    assert expected == site.credentials.identify(site.spoken(), "gateway")
    assert None is site.credentials.identify(site.spoken(), "platform")
    assert None is site.credentials.identify(site.spoken(agent=None), "gateway")
    assert "ada@acme.example" == site.foreign(site.spoken(agent=None)).user


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.example"},
        {"aud": "others"},
        {"exp": NOW // SECOND - 60},
        {"exp": None},
        {"nbf": NOW // SECOND + 60},
        {"sub": None},
        {"private": ec.generate_private_key(ec.SECP256R1())},
        {"private": "a shared secret that is long enough for it", "algorithm": "HS256"},
    ],
)
def test_a_foreign_token_that_is_not_good_is_nobodys(site: Site, changes: dict[str, Any]) -> None:
    """For another audience, over, not good yet, by another key or another algorithm."""
    with pytest.raises(UnauthenticatedError):
        site.foreign(site.spoken(**changes))
    assert None is site.credentials.identify(site.spoken(**changes), "gateway")


@pytest.mark.parametrize("text", ["", "hgk_", "hgt_a_b", "a.b.c", "sk-ant-1", "x" * 10_000, "\ud800"])
def test_what_is_no_credential_is_nobodys(site: Site, text: str) -> None:
    """Whatever it is."""
    assert None is site.credentials.identify(text, "gateway")


def test_keys_that_cannot_be_read_identify_nobody(site: Site) -> None:
    """Rather than everybody."""
    site.file.write_text("{")
    assert None is site.credentials.identify(site.spoken(), "gateway")


def test_rsa_keys_are_believed_and_shared_secrets_are_not() -> None:
    """Identity providers sign with RSA; a JWKS with a secret in it would let its reader sign."""
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    jwk = {**RSAAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": "r", "alg": "RS256"}
    assert ["r"] == list(parsed_keys(json.dumps({"keys": [jwk]}).encode()))
    with pytest.raises(ValueError, match="shared secret"):
        parsed_keys(b'{"keys":[{"kty":"oct","kid":"s","k":"c2VjcmV0"}]}')


@pytest.mark.parametrize(
    "source",
    [
        {"jwks_file": "a", "jwks_uri": "https://b"},
        {"jwks_uri": "http://b/jwks"},
        {"jwks_uri": "file:///b"},
        {"jwks_uri": "https://ada@b/jwks"},
        {"jwks_uri": "https://[b/jwks"},
        {"issuer": "http://login.acme.example"},
        {"issuer": "acme"},
    ],
)
def test_an_issuer_has_one_source_of_keys(source: dict[str, str]) -> None:
    """An address that others can change on the way is none."""
    with pytest.raises(ValidationError):
        ForeignIssuer.model_validate({"issuer": ISSUER, "audience": "agents", "claims": {"instance": "a"}, **source})


def test_keys_are_fetched_when_they_are_due(clock: SetClock) -> None:
    """At the start, every hour, and again after a while where that failed."""
    issuer = ForeignIssuer(issuer=ISSUER, audience="agents", jwks_uri="http://127.0.0.1:1/jwks", claims=AGENT)
    tokens = ForeignTokens([issuer], clock=clock)
    assert tokens.is_due()
    assert f"{ISSUER}: http://127.0.0.1:1/jwks cannot be fetched" in tokens.refresh()[0]
    assert not tokens.is_due()
    clock.now += FETCH_AGAIN_S * SECOND
    assert tokens.is_due()
    assert FETCH_AGAIN_S < FETCH_EVERY_S


def test_an_address_that_does_not_answer_is_told() -> None:
    """With what was asked."""
    with pytest.raises(TransientError, match="cannot be fetched"):
        fetched_keys("http://127.0.0.1:1/jwks")


@contextmanager
def answering(status: int, content: bytes, **headers: str) -> Iterator[str]:
    """A server that answers one request in one way; its address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.timeout = 10
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/jwks?a=1"
        thread.join(10)


def test_fetched_keys_verify(site: Site, clock: SetClock) -> None:
    """An unknown key makes a fetch due, at most once in a while; those that are there stay good meanwhile."""
    with answering(200, site.file.read_bytes()) as address:
        issuer = ForeignIssuer(issuer=ISSUER, audience="agents", jwks_uri=address, claims=AGENT)
        tokens = ForeignTokens([issuer], clock=clock)
        with pytest.raises(UnauthenticatedError, match="not known of its issuer"):
            tokens(site.spoken())
        assert [] == tokens.refresh()
    assert "u-1" == tokens(site.spoken()).user
    clock.now += FETCH_AGAIN_S * SECOND
    assert not tokens.is_due()
    stranger = jwt.encode({"iss": ISSUER}, site.private, algorithm="ES256", headers={"kid": "new"})
    with pytest.raises(UnauthenticatedError):
        tokens(stranger)
    assert tokens.is_due()
    assert 1 == len(tokens.refresh())
    assert "u-1" == tokens(site.spoken(exp=clock.now // SECOND + 60)).user


@pytest.mark.parametrize(
    ("status", "content", "headers", "why"),
    [
        (302, b"", {"location": "http://127.0.0.1/elsewhere"}, "answers 302, and 200 was expected"),
        (500, b"{}", {}, "answers 500"),
        (200, b"{", {}, "cannot be used"),
        (200, b'{"keys":[{"kty":"oct","kid":"s","k":"c2VjcmV0"}]}', {}, "shared secret"),
        (200, b" " * (ANSWER_BYTES_MAX + 1), {}, "more than 1 MiB"),
    ],
)
def test_an_answer_that_is_no_list_of_keys_is_told(
    status: int, content: bytes, headers: dict[str, str], why: str
) -> None:
    """A redirect is followed nowhere, and no answer is read without end."""
    with answering(status, content, **headers) as address, pytest.raises(TransientError, match=why):
        fetched_keys(address)
