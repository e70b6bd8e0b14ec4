"""Tokens of instances: short-lived JSON Web Tokens that control signs with ES256, each for one audience.

The subject is `spiffe://headgate/agent/WORKFLOW/INSTANCE`, `act` names whoever launched it, nested; the claim
`headgate` says the rest. Whoever holds one may do what its instance may, so it lives minutes, and dies with the
instance.
"""

import base64
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt
import orjson
from jwt import PyJWK, PyJWTError

from headgate_control.identity.instance import Instance, new_id
from headgate_control.identity.signing_keys import SigningKeys
from headgate_processors.credentials.issuer import ISSUER, Audience
from headgate_processors.errors import UnauthenticatedError

TRUST_DOMAIN = "headgate"
LIFETIME_S = 600
LEEWAY_S = 5
TOKEN_CHARACTERS_MAX = 8_192
CACHED_MAX = 10_000
_ALGORITHM = "ES256"
_PARTS = 3
_NS_PER_S = 1_000_000_000
_SUBJECT = re.compile(rf"spiffe://{TRUST_DOMAIN}/agent/[A-Za-z0-9._-]+/([A-Za-z0-9._-]+)")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_TOLD = ("workflow", "team", "repo", "user", "launched_by", "policy_profile", "manifest_digest", "runtime", "root")
_OPTIONS: Any = {
    "require": ["iss", "sub", "aud", "exp", "iat", "jti"],
    # Judged here: the times on a clock that can be set, the audience by the door.
    "verify_aud": False,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebToken:
    """What a verified token says. `token_id` is its `jti`; `expires_unix_nano` is when it ends, without leeway."""

    token_id: str
    instance_id: str
    subject: str
    audience: str
    key_id: str
    issued_unix_nano: int
    expires_unix_nano: int


class InstanceTokens:
    """Makes tokens of instances."""

    def __init__(self, keys: SigningKeys, *, issuer: str = ISSUER, clock: Callable[[], int] = time.time_ns) -> None:
        self._keys, self._issuer, self._clock = keys, issuer, clock

    def mint(
        self,
        instance: Instance,
        audience: Audience,
        *,
        launched: Sequence[Instance] = (),
        lifetime_s: int = LIFETIME_S,
    ) -> str:
        """A token of an instance; `launched` are its parents, the nearest first. It ends with the instance.

        Raises:
            ConfigError: there is no key to sign with.
        """
        now_s = self._clock() // _NS_PER_S
        end_s = now_s + lifetime_s
        if instance.expires_unix_nano is not None:
            end_s = min(end_s, instance.expires_unix_nano // _NS_PER_S)
        claims = {
            "iss": self._issuer,
            "sub": subject_of(instance),
            "aud": audience,
            "iat": now_s,
            "nbf": now_s,
            "exp": end_s,
            "jti": new_id("jwt"),
            "headgate": {"instance_id": instance.instance_id, **_told(instance)},
        }
        if launched:
            claims["act"] = _acting(launched)
        key_id, private = self._keys.signing()
        return jwt.encode(claims, private, algorithm=_ALGORITHM, headers={"kid": key_id})


class TokenVerifier:
    """Verifies tokens of instances. What was verified once is only looked up until it ends; safe for many threads.

    `good` are the keys of this moment: a token of a key that is retired is refused, verified before or not.
    """

    def __init__(
        self,
        good: Callable[[], Mapping[str, PyJWK]],
        *,
        issuer: str = ISSUER,
        clock: Callable[[], int] = time.time_ns,
        cached_max: int = CACHED_MAX,
    ) -> None:
        self._good, self._clock, self._cached_max = good, clock, cached_max
        self.issuer = issuer
        self._guard = threading.Lock()
        self._cached: OrderedDict[bytes, WebToken] = OrderedDict()

    def has_seen(self, text: str) -> bool:
        """Whether it has verified this very token, which says nothing of whether it is good now."""
        return _place(text) in self._cached

    def __call__(self, text: str, audience: Audience) -> WebToken:
        """What a token says, if it is good for this audience now.

        Raises:
            UnauthenticatedError: it is forged, over, not good yet, or for somebody else.
            ConfigError: the keys cannot be read.
        """
        if len(text) > TOKEN_CHARACTERS_MAX:
            raise UnauthenticatedError("the token is longer than any of ours")
        good, place = self._good(), _place(text)
        with self._guard:
            found = self._cached.get(place)
        if found is None:
            found = self._verified(text, good)
            self._keep(place, found)
        self._judge(found, audience, good)
        return found

    def _verified(self, text: str, good: Mapping[str, PyJWK]) -> WebToken:
        """What the signature covers, whatever the time and the audience."""
        try:
            key_id = jwt.get_unverified_header(text).get("kid")
            key = good.get(key_id) if isinstance(key_id, str) else None
            if key is None or key_id is None:
                raise UnauthenticatedError("the token is signed with no key of ours that is good")
            claims = jwt.decode(text, key, algorithms=[_ALGORITHM], issuer=self.issuer, options=_OPTIONS)
        except (PyJWTError, ValueError, TypeError, RecursionError) as error:
            # The name of the error says what is wrong; its text may hold parts of the token.
            raise UnauthenticatedError(f"the token is not good: {type(error).__name__}") from None
        return _read(claims, key_id)

    def _judge(self, token: WebToken, audience: str, good: Mapping[str, PyJWK]) -> None:
        now = self._clock()
        if token.key_id not in good:
            raise UnauthenticatedError("the token is signed with no key of ours that is good")
        if token.audience != audience:
            raise UnauthenticatedError(f"the token is for {token.audience}, not for {audience}")
        if token.expires_unix_nano + LEEWAY_S * _NS_PER_S <= now:
            raise UnauthenticatedError("the token has expired")
        if token.issued_unix_nano - LEEWAY_S * _NS_PER_S > now:
            raise UnauthenticatedError("the token is not good yet: compare the clocks")

    def _keep(self, place: bytes, token: WebToken) -> None:
        with self._guard:
            self._cached[place] = token
            while len(self._cached) > self._cached_max:
                self._cached.popitem(last=False)


def _place(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def subject_of(instance: Instance) -> str:
    """The SPIFFE-shaped name of an instance; characters that such a name cannot have become `_`."""
    workflow = _UNSAFE.sub("_", instance.workflow or "") or "-"
    return f"spiffe://{TRUST_DOMAIN}/agent/{workflow}/{instance.instance_id}"


def unverified_issuer(text: str) -> str | None:
    """The issuer that a token names, to find the keys by which it is verified; None where it is no token."""
    parts = text.split(".") if len(text) <= TOKEN_CHARACTERS_MAX else []
    if len(parts) != _PARTS:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    except ValueError:
        return None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else None


def _told(instance: Instance) -> dict[str, str]:
    told = {name: value for name in _TOLD if (value := getattr(instance, name)) is not None}
    return told if instance.parent is None else {**told, "parent": instance.parent}


def _acting(launched: Sequence[Instance]) -> dict[str, object]:
    """Who acts for the instance, as RFC 8693 nests it."""
    acting: dict[str, object] = {}
    for one in reversed(launched):
        acting = {"sub": subject_of(one), **({"act": acting} if acting else {})}
    return acting


def _read(claims: Mapping[str, Any], key_id: str) -> WebToken:
    """The token of claims that are signed.

    Raises:
        UnauthenticatedError: they are not those of an instance.
    """
    subject, audience, told = claims["sub"], claims["aud"], claims.get("headgate")
    named = _SUBJECT.fullmatch(subject) if isinstance(subject, str) else None
    times = [claims["iat"], claims.get("nbf", claims["iat"]), claims["exp"]]
    is_shaped = isinstance(audience, str) and isinstance(claims["jti"], str) and all(type(one) is int for one in times)
    if named is None or not is_shaped or not isinstance(told, dict) or told.get("instance_id") != named[1]:
        raise UnauthenticatedError("the token is none of an instance")
    return WebToken(
        token_id=claims["jti"],
        instance_id=named[1],
        subject=subject,
        audience=audience,
        key_id=key_id,
        issued_unix_nano=max(times[:2]) * _NS_PER_S,
        expires_unix_nano=times[2] * _NS_PER_S,
    )
