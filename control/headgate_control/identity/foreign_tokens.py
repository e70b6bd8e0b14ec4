"""Tokens of other issuers, as OpenID Connect has them: whom a site's own identity provider says that somebody is.

Nothing is fetched while a token is verified: `refresh` fetches keys and reads the file of issuers again, at the times
that `is_due` says; an unknown key id makes it due.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jwt
from jwt import InvalidAudienceError, MissingRequiredClaimError, PyJWTError

from headgate_control.identity.issuer_keys import KeySource, source_of
from headgate_control.identity.issuers_file import ForeignIssuer, InstanceRule, IssuersFile
from headgate_control.identity.web_tokens import LEEWAY_S, TOKEN_CHARACTERS_MAX, unverified_issuer
from headgate_control.manifests.globs import glob
from headgate_processors.credentials.watched import WatchedFile
from headgate_processors.documents import parse_document
from headgate_processors.errors import ConfigError, TransientError, UnauthenticatedError

ALGORITHMS = frozenset({"ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"})
_OPTIONS: Any = {"require": ["iss", "sub", "aud", "exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Whom another issuer says that a token's bearer is; `team` is None where no claim is to say it.

    `wanting` says why the token names no instance.
    """

    issuer: str
    subject: str
    user: str
    instance_id: str | None
    token_id: str | None
    team: str | None = None
    wanting: str = ""


class ForeignTokens:
    """Verifies tokens of the issuers that a site believes. A file of them is read again when it changes."""

    def __init__(
        self,
        issuers: Iterable[ForeignIssuer],
        *,
        file: WatchedFile[IssuersFile] | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._clock, self._file = clock, file
        self._issuers: dict[str, tuple[ForeignIssuer, KeySource]] = {}
        self._use(issuers)
        self._seen = self._look()

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], int] = time.time_ns) -> "ForeignTokens":
        """Those of a file.

        Raises:
            ConfigError: it is missing or wrong, or others than its owner may write it.
        """
        file = WatchedFile(path, partial(_parsed_file, source=path.name))
        return cls(file.value().issuers, file=file, clock=clock)

    def __call__(self, text: str) -> Foreign:
        """Whom a token speaks of.

        Raises:
            UnauthenticatedError: its issuer is not believed, or it is forged, over, or for somebody else; the message
                holds nothing of the token.
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
        instance_id, wanting = _instance(claims, issuer)
        return Foreign(
            issuer=issuer.issuer,
            subject=claims["sub"],
            user=_required(claims, issuer.claims.user),
            instance_id=instance_id,
            token_id=_text(claims, "jti"),
            team=None if issuer.claims.team is None else _required(claims, issuer.claims.team),
            wanting=wanting,
        )

    def is_due(self) -> bool:
        """Whether some keys are to be fetched, or the file of issuers is another one."""
        return self._look() != self._seen or any(source.is_due() for _, source in self._issuers.values())

    def refresh(self) -> list[str]:
        """Do what is due; takes seconds, and is no work for an event loop. What could not be done.

        Issuers and the keys that they had stay good meanwhile.
        """
        problems = []
        if (found := self._look()) != self._seen:
            self._seen = found
            if isinstance(found, IssuersFile):
                self._use(found.issuers)
            else:
                problems.append(f"{found}; the issuers that were read before are believed")
        for issuer, source in list(self._issuers.values()):
            try:
                if source.is_due():
                    source.refresh()
            except TransientError as error:
                problems.append(f"{issuer.issuer}: {error}")
        return problems

    def _look(self) -> IssuersFile | str | None:
        """The file of issuers as it is, or what is wrong with it."""
        try:
            return None if self._file is None else self._file.value()
        except ConfigError as error:
            return str(error)

    def _use(self, issuers: Iterable[ForeignIssuer]) -> None:
        """Believe these; those whose keys come from the same place keep them."""
        before, made = self._issuers, {}
        for one in issuers:
            old = before.get(one.issuer)
            kept = old[1] if old is not None and old[0].keys_place == one.keys_place else None
            made[one.issuer] = (one, kept or source_of(one, self._clock))
        self._issuers = made

    def _verified(self, text: str, issuer: ForeignIssuer, source: KeySource) -> Mapping[str, Any]:
        try:
            key = source.keys().get(jwt.get_unverified_header(text).get("kid"))
            if key is None:
                source.want()
                raise UnauthenticatedError("the token is signed with a key that is not known of its issuer")
            algorithms = [key.algorithm_name] if key.algorithm_name in ALGORITHMS else []
            return jwt.decode(
                text, key, algorithms=algorithms, audience=issuer.audience, issuer=issuer.issuer, options=_OPTIONS
            )
        except InvalidAudienceError:
            message = f"the token is for another audience: {issuer.audience!r} is expected of its issuer"
            raise UnauthenticatedError(message) from None
        except MissingRequiredClaimError as error:
            raise UnauthenticatedError(f"the token has no claim {error.claim!r}") from None
        except (PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise UnauthenticatedError(f"the token is not good: {type(error).__name__}") from None


def _parsed_file(content: bytes, *, source: str) -> IssuersFile:
    try:
        return parse_document(content.decode(), IssuersFile, source=source)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _instance(claims: Mapping[str, Any], issuer: ForeignIssuer) -> tuple[str | None, str]:
    """The instance that a token stands for, by its claim, else by the first rule that fits; else why there is none."""
    name = issuer.claims.instance
    if name is not None and (found := _text(claims, name)) is not None:
        return found, ""
    fitting = next((rule.instance for rule in issuer.instances if _fits(rule, claims)), None)
    missing = [] if name is None else [f"has no claim {name!r}, which names the instance"]
    missing += ["fits no rule of `instances`"] if issuer.instances else []
    return fitting, f"the token {' and '.join(missing) or 'names no instance'}" if fitting is None else ""


def _fits(rule: InstanceRule, claims: Mapping[str, Any]) -> bool:
    return all(
        any(glob(pattern).matches(one) for one in _texts(claims.get(name))) for name, pattern in rule.claims.items()
    )


def _texts(value: object) -> list[str]:
    """A claim as text: of a list each, of a truth its JSON."""
    if isinstance(value, bool):
        return ["true" if value else "false"]
    several = value if isinstance(value, list) else [value]
    return [one for one in several if isinstance(one, str)]


def _required(claims: Mapping[str, Any], name: str) -> str:
    found = _text(claims, name)
    if found is None:
        raise UnauthenticatedError(f"the token has no claim {name!r}")
    return found


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and value else None


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124
        raise UnauthenticatedError("a time of the token is none")
    return float(value)
