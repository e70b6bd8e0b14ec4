"""Tokens of other issuers, as OpenID Connect has them: whom a site's own identity provider says that somebody is.

Public keys come from a file or from the issuer's `jwks_uri`. Nothing is fetched while a token is verified: `refresh`
fetches, at the times that `is_due` says, and an unknown key id makes it due.
"""

import http.client
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import jwt
from jwt import PyJWK, PyJWKSet, PyJWTError
from pydantic import Field, model_validator

from headgate_control.identity.web_tokens import LEEWAY_S, TOKEN_CHARACTERS_MAX, unverified_issuer
from headgate_processors.credentials.watched import WatchedFile
from headgate_processors.documents import Document
from headgate_processors.errors import ConfigError, TransientError, UnauthenticatedError

ALGORITHMS = frozenset({"ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"})
KEYS_BYTES_MAX = 1 << 20
FETCH_TIMEOUT_S = 5.0
FETCH_EVERY_S = 3_600
FETCH_AGAIN_S = 60
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_OPTIONS: Any = {"require": ["iss", "sub", "aud", "exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}

Keys = Mapping[str | None, PyJWK]


class ClaimNames(Document):
    """Which claims say what: `user` the person, `instance` an instance of Headgate that the token stands for."""

    user: str = "sub"
    instance: str | None = None


class ForeignIssuer(Document):
    """An issuer that is believed, for one audience; its keys are in a file, or at an address."""

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    jwks_file: Path | None = None
    jwks_uri: str | None = None
    claims: ClaimNames = ClaimNames()

    @model_validator(mode="after")
    def _one_source(self) -> "ForeignIssuer":
        if (self.jwks_file is None) == (self.jwks_uri is None):
            raise ValueError("give either jwks_file or jwks_uri")
        if self.jwks_uri is not None:
            parts = urlsplit(self.jwks_uri)
            if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
                raise ValueError("jwks_uri begins with https://; http:// is for this machine alone")
        return self


class IssuersFile(Document):
    """A file of issuers."""

    issuers: list[ForeignIssuer] = Field(max_length=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Whom another issuer says that a token's bearer is; what no claim says is None."""

    issuer: str
    subject: str
    user: str | None
    instance_id: str | None
    token_id: str | None


class _Source(Protocol):
    """The public keys of an issuer."""

    def keys(self) -> Keys: ...

    def want(self) -> None:
        """A token names a key that is not there."""

    def is_due(self) -> bool: ...

    def refresh(self) -> None: ...


class ForeignTokens:
    """Verifies tokens of the issuers that a site believes."""

    def __init__(self, issuers: Iterable[ForeignIssuer], *, clock: Callable[[], int] = time.time_ns) -> None:
        self._issuers = {one.issuer: (one, _source(one, clock)) for one in issuers}
        self._clock = clock

    def __call__(self, text: str) -> Foreign:
        """Whom a token speaks of.

        Raises:
            UnauthenticatedError: its issuer is not believed, or it is forged, over, or for somebody else.
            ConfigError: a file of keys cannot be read.
        """
        found = self._issuers.get(unverified_issuer(text) or "") if len(text) <= TOKEN_CHARACTERS_MAX else None
        if found is None:
            raise UnauthenticatedError("the token is of no issuer that is believed here")
        issuer, source = found
        claims = self._verified(text, issuer, source)
        now_s = self._clock() / 1e9
        if _time(claims["exp"]) + LEEWAY_S <= now_s:
            raise UnauthenticatedError("the token has expired")
        if _time(claims.get("nbf", 0)) - LEEWAY_S > now_s:
            raise UnauthenticatedError("the token is not good yet: compare the clocks")
        return Foreign(
            issuer=issuer.issuer,
            subject=claims["sub"],
            user=_text(claims, issuer.claims.user),
            instance_id=_text(claims, issuer.claims.instance),
            token_id=_text(claims, "jti"),
        )

    def is_due(self) -> bool:
        """Whether some keys are to be fetched."""
        return any(source.is_due() for _, source in self._issuers.values())

    def refresh(self) -> list[str]:
        """Fetch the keys that are due; takes seconds, and is no work for an event loop. What could not be fetched.

        The keys that an issuer had stay good meanwhile.
        """
        problems = []
        for issuer, source in self._issuers.values():
            try:
                if source.is_due():
                    source.refresh()
            except TransientError as error:
                problems.append(f"{issuer.issuer}: {error}")
        return problems

    def _verified(self, text: str, issuer: ForeignIssuer, source: _Source) -> Mapping[str, Any]:
        try:
            key = source.keys().get(jwt.get_unverified_header(text).get("kid"))
            if key is None:
                source.want()
                raise UnauthenticatedError("the token is signed with a key that is not known of its issuer")
            algorithms = [key.algorithm_name] if key.algorithm_name in ALGORITHMS else []
            return jwt.decode(
                text, key, algorithms=algorithms, audience=issuer.audience, issuer=issuer.issuer, options=_OPTIONS
            )
        except (PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise UnauthenticatedError(f"the token is not good: {type(error).__name__}") from None


class _FileKeys:
    """Keys in a file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._file: WatchedFile[Keys] = WatchedFile(path, parsed_keys)

    def keys(self) -> Keys:
        return self._file.value()

    def want(self) -> None:
        """The file is looked at each time anyway."""

    def is_due(self) -> bool:
        return False

    def refresh(self) -> None:
        """Nothing is fetched."""


class _FetchedKeys:
    """Keys at an address, as they were fetched last."""

    def __init__(self, address: str, clock: Callable[[], int]) -> None:
        self._address, self._clock = address, clock
        self._keys: Keys = {}
        self._is_wanted = False
        self._tried_s = float("-inf")

    def keys(self) -> Keys:
        return self._keys

    def want(self) -> None:
        self._is_wanted = True

    def is_due(self) -> bool:
        return self._clock() / 1e9 - self._tried_s >= (
            FETCH_EVERY_S if self._keys and not self._is_wanted else FETCH_AGAIN_S
        )

    def refresh(self) -> None:
        self._tried_s = self._clock() / 1e9
        self._keys = fetched_keys(self._address)
        self._is_wanted = False


def fetched_keys(address: str) -> Keys:
    """The keys at an address: one answer of bounded size in bounded time, no redirect is followed.

    Raises:
        TransientError: there are none.
    """
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=FETCH_TIMEOUT_S)
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        response = connection.getresponse()
        content = response.read(KEYS_BYTES_MAX + 1)
        if response.status != http.client.OK:
            raise TransientError(f"{address} answers {response.status}, and 200 was expected")
        if len(content) > KEYS_BYTES_MAX:
            raise TransientError(f"{address} answers with more than {KEYS_BYTES_MAX >> 20} MiB")
        return parsed_keys(content)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise TransientError(f"{address} cannot be fetched: {error}") from error
    finally:
        connection.close()


def parsed_keys(content: bytes) -> Keys:
    """The public keys of a JWKS, by id.

    Raises:
        ValueError: it is none, or holds a key that is no public one.
    """
    try:
        keys = PyJWKSet.from_json(content.decode()).keys
    except (PyJWTError, AttributeError, TypeError) as error:
        message = f"no JWKS with public keys: {type(error).__name__}"
        raise ValueError(message) from None
    if any(key.key_type not in {"EC", "RSA", "OKP"} for key in keys):
        raise ValueError("no JWKS with public keys: one of them is a shared secret")
    return {key.key_id: key for key in keys}


def _source(issuer: ForeignIssuer, clock: Callable[[], int]) -> _Source:
    if issuer.jwks_file is not None:
        return _FileKeys(issuer.jwks_file)
    if issuer.jwks_uri is None:
        message = f"{issuer.issuer} has no keys: give jwks_file or jwks_uri"
        raise ConfigError(message)
    return _FetchedKeys(issuer.jwks_uri, clock)


def _text(claims: Mapping[str, Any], name: str | None) -> str | None:
    value = claims.get(name) if name is not None else None
    return value if isinstance(value, str) and value else None


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124
        raise UnauthenticatedError("a time of the token is none")
    return float(value)
