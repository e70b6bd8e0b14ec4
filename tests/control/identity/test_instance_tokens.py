"""Tokens of instances are good for one audience, minutes long, and by no other hand than control's."""

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from jwt.api_jws import PyJWS

from headgate_control.identity.instance import Instance
from headgate_control.identity.signing_keys import SigningKeys
from headgate_control.identity.web_tokens import LEEWAY_S, LIFETIME_S, InstanceTokens, TokenVerifier, subject_of
from headgate_control.testing.identities import NOW, SECOND, SetClock, instance
from headgate_processors.credentials.issuer import Audience
from headgate_processors.errors import UnauthenticatedError

GATEWAY: Audience = "headgate-gateway"
TELEMETRY: Audience = "headgate-telemetry"
Mint = Callable[..., str]


@pytest.fixture
def mint(keys: SigningKeys, clock: SetClock, agent: Instance) -> Mint:
    """Makes a token of the agent, for a gateway unless told otherwise."""
    tokens = InstanceTokens(keys, clock=clock)

    def made(audience: Any = GATEWAY, **more: Any) -> str:
        return tokens.mint(agent, audience, **more)

    return made


@pytest.fixture
def verify(keys: SigningKeys, clock: SetClock) -> TokenVerifier:
    """Verifies by the keys of the moment."""
    return TokenVerifier(keys.good, clock=clock)


def refused(verify: TokenVerifier, text: str) -> str:
    """Why a token is refused."""
    with pytest.raises(UnauthenticatedError) as error:
        verify(text, GATEWAY)
    return str(error.value)


def signed(keys: SigningKeys, **changes: Any) -> str:
    """A token that control's own key signed, with claims that control would not give."""
    key_id, private = keys.signing()
    now = NOW // SECOND
    claims = {
        "iss": "https://headgate.internal",
        "sub": "spiffe://headgate/agent/w/ai-1",
        "aud": GATEWAY,
        "iat": now,
        "exp": now + 60,
        "jti": "jwt-1",
        "headgate": {"instance_id": "ai-1"},
    }
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(claims, private, algorithm="ES256", headers={"kid": key_id})


def test_a_token_says_whose_it_is(mint: Mint, verify: TokenVerifier, keys: SigningKeys) -> None:
    """In claims that others read too: who acts, for whom, under what."""
    parents = [instance("ai-0", workflow=None), instance("ai-00")]
    text = mint(launched=parents)
    token = verify(text, GATEWAY)
    assert ("ai-1", "spiffe://headgate/agent/fix_tests/ai-1") == (token.instance_id, token.subject)
    assert (NOW // SECOND + LIFETIME_S) * SECOND == token.expires_unix_nano
    claims = jwt.decode(text, options={"verify_signature": False})
    assert {
        "sub": "spiffe://headgate/agent/-/ai-0",
        "act": {"sub": "spiffe://headgate/agent/fix_tests/ai-00"},
    } == claims["act"]
    assert ("payments", "ada", "sha256:0") == tuple(
        claims["headgate"][name] for name in ("team", "user", "manifest_digest")
    )
    assert token == verify(text, GATEWAY)


def test_a_token_is_for_one_audience(mint: Mint, verify: TokenVerifier, keys: SigningKeys) -> None:
    """A list of audiences is none of ours, whatever is in it."""
    assert f"the token is for {TELEMETRY}, not for {GATEWAY}" == refused(verify, mint(TELEMETRY))
    verify(mint(), GATEWAY)
    with pytest.raises(UnauthenticatedError):
        verify(mint(), TELEMETRY)
    assert "none of an instance" in refused(verify, signed(keys, aud=[GATEWAY, TELEMETRY]))


def test_a_token_ends(mint: Mint, verify: TokenVerifier, clock: SetClock) -> None:
    """A moment later than it says, for clocks differ; what was verified before ends as well."""
    text = mint()
    verify(text, GATEWAY)
    clock.now += (LIFETIME_S + LEEWAY_S) * SECOND - 1
    verify(text, GATEWAY)
    clock.now += 1
    assert "the token has expired" == refused(verify, text)


def test_a_token_is_not_good_before_its_time(mint: Mint, verify: TokenVerifier, clock: SetClock) -> None:
    """But for a moment."""
    text = mint()
    clock.now -= LEEWAY_S * SECOND
    verify(text, GATEWAY)
    clock.now -= 1
    assert "not good yet" in refused(verify, text)


def test_a_token_ends_with_its_instance(keys: SigningKeys, clock: SetClock, verify: TokenVerifier) -> None:
    """However long it was asked for."""
    text = InstanceTokens(keys, clock=clock).mint(instance(expires_unix_nano=NOW + 60 * SECOND), "headgate-gateway")
    assert NOW + 60 * SECOND == verify(text, GATEWAY).expires_unix_nano


def test_a_token_outlives_a_rotation_until_its_overlap_ends(
    mint: Mint, verify: TokenVerifier, keys: SigningKeys
) -> None:
    """With an overlap it is good; where the key was stolen it is not, verified before or not."""
    text = mint()
    verify(text, GATEWAY)
    keys.rotate()
    verify(text, GATEWAY)
    other = mint()
    verify(other, GATEWAY)
    keys.rotate(overlap_ns=0)
    assert "no key of ours" in refused(verify, other)


def test_a_forged_token_is_refused(mint: Mint, verify: TokenVerifier, keys: SigningKeys, agent: Instance) -> None:
    """By another key under our key's id, with no algorithm, with the public key as a shared secret, or changed."""
    text, (key_id, private) = mint(), keys.signing()
    claims = jwt.decode(text, options={"verify_signature": False})
    other = ec.generate_private_key(ec.SECP256R1())
    swapped = jwt.encode(claims, other, algorithm="ES256", headers={"kid": key_id})
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": key_id})
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": key_id}).encode()).rstrip(b"=").decode()
    body = text.split(".")[1]
    shared = PyJWS().get_algorithm_by_name("HS256").sign(f"{head}.{body}".encode(), pem)
    confused = f"{head}.{body}.{base64.urlsafe_b64encode(shared).decode().rstrip('=')}"
    another = jwt.encode({**claims, "sub": "x"}, private, algorithm="ES256").split(".")[1]
    changed = ".".join([text.split(".")[0], another, text.split(".")[2]])
    own = {"kid": "mine", "jwk": ECAlgorithm.to_jwk(other.public_key(), as_dict=True)}
    own_key = jwt.encode(claims, other, algorithm="ES256", headers=own)
    for forged in (swapped, unsigned, confused, changed, own_key, text[:-2], "", "a.b.c", "\ud800.b.c", text * 20):
        assert refused(verify, forged)


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "spiffe://other/agent/w/ai-1"},
        {"sub": "spiffe://headgate/gateway/w/ai-1"},
        {"sub": "spiffe://headgate/agent/w/ai-2"},
        {"sub": "spiffe://headgate/agent/w/x/ai-1"},
        {"headgate": {"instance_id": "ai-2"}},
        {"headgate": None},
        {"iss": "https://elsewhere.example"},
        {"exp": None},
        {"exp": "soon"},
        {"iat": True},
        {"jti": None},
        {"jti": 1},
    ],
)
def test_claims_that_are_not_an_instances_are_refused(
    keys: SigningKeys, verify: TokenVerifier, changes: dict[str, Any]
) -> None:
    """Even under our own signature; and without the change they are not."""
    verify(signed(keys), GATEWAY)
    assert refused(verify, signed(keys, **changes))


def test_what_is_remembered_is_bounded(keys: SigningKeys, clock: SetClock, agent: Instance) -> None:
    """The oldest is forgotten, and verified again when it comes."""
    verify = TokenVerifier(keys.good, clock=clock, cached_max=2)
    texts = [InstanceTokens(keys, clock=clock).mint(agent, "headgate-gateway") for _ in range(4)]
    for text in [*texts, *texts]:
        verify(text, "headgate-gateway")
    assert 2 == len(verify._cached)


def test_no_workflow_makes_a_subject_of_another_shape() -> None:
    """Slashes and dots are not taken over."""
    assert "spiffe://headgate/agent/______gateway/ai-1" == subject_of(instance(workflow="../../gateway"))
