"""The key store: `credentials.json` in the data folder, 0600, replaced whole, read again when it changes."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from headgate_processors.credentials.tokens import Credential, CredentialRole, digest_of, new_token, new_token_id
from headgate_processors.credentials.watched import WatchedFile
from headgate_processors.errors import ConfigError
from headgate_processors.files import write_whole
from headgate_processors.store.lock import Lock

FILE_NAME = "credentials.json"
CREDENTIALS_MAX = 20_000
_LOCK = Path("locks") / "credentials.lock"
_LOCK_WAIT_S = 5.0


@validated(frozen=True, kw_only=True)
class _File:
    """The file: its version, so that a later one is refused with a sentence, and the credentials."""

    version: Literal[1] = 1
    credentials: list[Credential] = field(default_factory=list)


_FILE = TypeAdapter(_File)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The credentials at one moment: all by id, those of certificates by the name that they go by."""

    by_id: Mapping[str, Credential]
    by_certificate: Mapping[str, Credential]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A credential that was made, and the text of its token, which is kept nowhere; None for a certificate."""

    credential: Credential
    token: str | None = field(repr=False)


class KeyStore:
    """Makes, lists and revokes credentials, and gives those of this moment to whoever checks one.

    Several processes may use one folder at once; those that check see a change at their next look.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.path = folder / FILE_NAME
        self._folder = folder
        self._clock = clock
        self._file = WatchedFile(self.path, _parsed, absent=_keys([]))

    def keys(self) -> Keys:
        """The credentials at this moment.

        Raises:
            ConfigError: the file cannot be read, or is not believed.
        """
        return self._file.value()

    def create(
        self,
        role: CredentialRole,
        *,
        name: str = "",
        subject: str | None = None,
        lifetime_ns: int | None = None,
        certificate: str | None = None,
    ) -> Issued:
        """Make a token, or let a certificate with this name in.

        Raises:
            ConfigError: the certificate's name is taken, or the file is full or cannot be read.
        """
        token_id = new_token_id(role)
        token = new_token(token_id) if certificate is None else None
        now = self._clock()
        credential = Credential(
            token_id=token_id,
            role=role,
            name=name,
            subject=subject,
            created_unix_nano=now,
            expires_unix_nano=None if lifetime_ns is None else now + lifetime_ns,
            digest=None if token is None else digest_of(token),
            certificate=certificate,
        )
        with self._changing() as credentials:
            _check_room(credentials, credential, now)
            credentials[token_id] = credential
        return Issued(credential=credential, token=token)

    def revoke(self, token_id: str) -> Credential:
        """End a credential for good; one that was revoked before stays as it was.

        Raises:
            ConfigError: there is none with this id.
        """
        with self._changing() as credentials:
            found = credentials.get(token_id)
            if found is None:
                message = f"there is no token {token_id!r} in {self.path}: `headgate token list` shows all"
                raise ConfigError(message)
            if found.revoked_unix_nano is None:
                found = credentials[token_id] = replace(found, revoked_unix_nano=self._clock())
        return found

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Credential]]:
        """All credentials by id, written back at the end; nobody else changes them meanwhile."""
        (self._folder / _LOCK.parent).mkdir(parents=True, exist_ok=True)
        lock = Lock.take(self._folder / _LOCK, wait_s=_LOCK_WAIT_S)
        try:
            credentials = dict(self._file.value().by_id)
            yield credentials
            content = _FILE.dump_json(_File(credentials=list(credentials.values())), indent=2)
            write_whole(self.path, content + b"\n")
        finally:
            lock.release()


def _parsed(content: bytes) -> Keys:
    try:
        return _keys(_FILE.validate_json(content).credentials)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        if where == "version" and _version_of(content) > 1:
            message = "written by a newer Headgate: use that one, or make new tokens in another folder"
            raise ValueError(message) from None
        message = f"damaged: {where}: {first['msg']}. Restore it from a copy, or remove it and make new tokens"
        raise ValueError(message) from None


def _version_of(content: bytes) -> int:
    found = orjson.loads(content).get("version")
    return found if isinstance(found, int) else 0


def _keys(credentials: list[Credential]) -> Keys:
    named = {one.certificate: one for one in credentials if one.certificate is not None}
    return Keys(by_id={one.token_id: one for one in credentials}, by_certificate=named)


def _check_room(credentials: Mapping[str, Credential], added: Credential, now_unix_nano: int) -> None:
    if len(credentials) >= CREDENTIALS_MAX:
        message = f"the key store holds {len(credentials)} credentials, as many as it may: remove the file's old ones"
        raise ConfigError(message)
    for one in credentials.values():
        if (
            added.certificate is not None
            and one.certificate == added.certificate
            and one.state(now_unix_nano) == "valid"
        ):
            message = (
                f"certificates named {added.certificate!r} are let in already, as {one.token_id}: revoke that first"
            )
            raise ConfigError(message)
