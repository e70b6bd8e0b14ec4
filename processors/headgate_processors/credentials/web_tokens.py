"""JSON Web Tokens that control, or another issuer, signed with ES256; the public keys of each are in a file."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from jwt import PyJWK, PyJWKSet, PyJWTError

from headgate_processors.credentials.issuer import ISSUER
from headgate_processors.credentials.subjects import role_of_subject
from headgate_processors.credentials.watched import WatchedFile
from headgate_processors.errors import TransientError, UnauthenticatedError
from headgate_processors.receiver.port import Role, Sender

TELEMETRY = "headgate-telemetry"
PLATFORM = "headgate-platform"
ALGORITHM = "ES256"
LEEWAY_S = 30
TOKEN_CHARACTERS_MAX = 8192
_OPTIONS: Any = {
    "require": ["exp", "sub", "aud"],
    # Judged below, on a clock that can be set: an expired token must still tell whose it was.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """A public key, good until `end_s` seconds since the epoch, where its file says so in `exp`."""

    public: PyJWK
    end_s: float = math.inf


Keys = Mapping[str | None, TokenKey]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebTokenConfig:
    """Where the issuer's keys are (a JWKS file), and the issuer that tokens must name, None for any.

    `may_be_absent`: without the file no token is good; else a missing file is a fault that passes. `own_keys_file` are
    the keys of the control that shares the data folder, which may never have run.
    """

    keys_file: Path
    issuer: str | None = None
    may_be_absent: bool = False
    own_keys_file: Path | None = None


class WebTokens:
    """Verifies tokens. The audience `headgate-platform` lets a subject be what its kind says it is, one with
    `headgate-telemetry` alone is always a client's.

    The key file is read again when it is replaced: while a new and an old key are both in it, tokens of both
    are good.
    """

    def __init__(self, config: WebTokenConfig, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        absent: Keys | None = {} if config.may_be_absent else None
        self._sources = [(WatchedFile(config.keys_file, _parsed_keys, absent=absent), config.issuer)]
        if config.own_keys_file is not None:
            self._sources.insert(0, (WatchedFile(config.own_keys_file, _parsed_keys, absent={}), ISSUER))

    def __call__(self, token: str) -> Sender:
        """Who the token's subject is.

        Raises:
            UnauthenticatedError: it is forged, expired, or for somebody else.
            TransientError: it is a Collector's and has expired, or its key is not known yet.
            ConfigError: the key file cannot be read.
        """
        claims = self._verified(token)
        sender = _sender(claims)
        now_s = self._clock() / 1e9
        if _time(claims, "exp", missing=-math.inf) + LEEWAY_S <= now_s:
            raise refusal("the token has expired", is_collectors=sender.role == "collector")
        if _time(claims, "nbf", missing=-math.inf) - LEEWAY_S > now_s:
            raise UnauthenticatedError("the token is not good yet: compare the clocks of issuer and receiver")
        return sender

    def _verified(self, token: str) -> Mapping[str, Any]:
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise UnauthenticatedError("the token is longer than any of ours")
        try:
            found = self._key(jwt.get_unverified_header(token).get("kid"))
            if found is None:
                raise refusal("the token is signed with a key that is not in the key file", is_collectors=_says(token))
            key, issuer = found
            audiences = [TELEMETRY, PLATFORM]
            return jwt.decode(token, key, algorithms=[ALGORITHM], audience=audiences, issuer=issuer, options=_OPTIONS)
        except (PyJWTError, ValueError, TypeError, RecursionError) as error:
            # The name of the error says what is wrong; its text may hold parts of the token.
            raise UnauthenticatedError(f"the token is not good: {type(error).__name__}") from None

    def _key(self, key_id: object) -> tuple[PyJWK, str | None] | None:
        """The key of this id that is good now, and the issuer whose it is.

        Raises:
            ConfigError: a key file cannot be read.
        """
        now_s = self._clock() / 1e9
        for file, issuer in self._sources:
            key = file.value().get(key_id) if key_id is None or isinstance(key_id, str) else None
            if key is not None and now_s < key.end_s:
                return key.public, issuer
        return None


def refusal(why: str, *, is_collectors: bool) -> UnauthenticatedError | TransientError:
    """What a credential is refused with: a Collector is told to keep its data, as it would else drop it."""
    if is_collectors:
        return TransientError(f"{why}: give the Collector another one; until then it keeps its data")
    return UnauthenticatedError(why)


def _sender(claims: Mapping[str, Any]) -> Sender:
    audience = claims["aud"]
    audiences = [audience] if isinstance(audience, str) else audience
    subject, token_id = claims["sub"], claims.get("jti")
    role: Role = role_of_subject(subject) if PLATFORM in audiences else "client"
    return Sender(role=role, subject=subject, token_id=token_id if isinstance(token_id, str) else None)


def _time(claims: Mapping[str, Any], name: str, *, missing: float) -> float:
    value = claims.get(name, missing)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise UnauthenticatedError(f"the token's {name} is no time")
    return float(value)


def _says(token: str) -> bool:
    """Whether a token that cannot be verified says that it is a Collector's."""
    try:
        subject = jwt.decode(token, options={"verify_signature": False}).get("sub")
    except (PyJWTError, ValueError, RecursionError):
        return False
    return isinstance(subject, str) and role_of_subject(subject) == "collector"


def _parsed_keys(content: bytes) -> Keys:
    try:
        keys = PyJWKSet.from_json(content.decode())
    except (PyJWTError, AttributeError) as error:
        message = f"no JWKS with ES256 keys: {error}"
        raise ValueError(message) from None
    ends = {one.get("kid"): one.get("exp") for one in json.loads(content)["keys"]}
    return {key.key_id: TokenKey(public=key, end_s=_end_s(ends.get(key.key_id))) for key in keys.keys}


def _end_s(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.inf
