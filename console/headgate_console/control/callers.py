"""Who may command control: tokens of the data folder's key store, the admin's own made at the first start."""

import time
from collections.abc import Callable
from pathlib import Path

from headgate_control.identity.instance import Instance
from headgate_control.server.doors import Caller, Role
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.credentials.tokens import CredentialRole, token_id_of
from headgate_processors.files import write_whole

_ROLES: dict[CredentialRole, Role] = {"admin": "operator", "gateway": "gateway", "runtime": "gateway"}


def callers_of(keys: KeyStore, clock: Callable[[], int] = time.time_ns) -> Callable[[str], Caller | None]:
    """Tells who a token belongs to; those of agents and Collectors are nobody's here."""

    def found(text: str) -> Caller | None:
        credential = keys.keys().by_id.get(token_id_of(text) or "")
        role = _ROLES.get(credential.role) if credential is not None else None
        if credential is None or role is None:
            return None
        if not credential.is_digest_of(text) or credential.state(clock()) != "valid":
            return None
        return Caller(role=role, name=credential.subject or credential.name or credential.token_id)

    return found


def kept_token(
    keys: KeyStore, role: CredentialRole, path: Path, *, replaced: Callable[[list[str]], None] = lambda _: None
) -> str:
    """The token of a role in a file that its owner alone may read; made when it is missing, or not good any more.

    Those that were made for the file before are revoked then, whoever has a copy; `replaced` is told their ids first.

    Raises:
        ConfigError: the key store cannot be read.
        OSError: the token cannot be written.
    """
    text = path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""
    credential = keys.keys().by_id.get(token_id_of(text) or "")
    if credential is not None and credential.is_digest_of(text) and credential.state(time.time_ns()) == "valid":
        return text
    if earlier := _minted(keys, role, path.stem):
        replaced(earlier)
    issued = keys.create(role, name=path.stem)
    assert issued.token is not None
    try:
        for token_id in earlier:
            keys.revoke(token_id)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, issued.token.encode() + b"\n")
    except OSError:
        keys.revoke(issued.credential.token_id)
        raise
    return issued.token


def _minted(keys: KeyStore, role: CredentialRole, name: str) -> list[str]:
    """The good tokens that were made for a file of this name."""
    now, every = time.time_ns(), keys.keys().by_id.values()
    return [
        one.token_id
        for one in every
        if (one.role, one.name, one.subject) == (role, name, None) and one.digest and one.state(now) == "valid"
    ]


def token_ender(keys: KeyStore) -> Callable[[str], None]:
    """Ends every token that stands for an instance."""

    def end(instance_id: str) -> None:
        for credential in keys.keys().by_id.values():
            if credential.subject == instance_id and credential.revoked_unix_nano is None:
                keys.revoke(credential.token_id)

    return end


def telemetry_token(keys: KeyStore) -> Callable[[Instance], str]:
    """Makes the token by which an instance sends OTLP; what it sends is `verified` to be its own."""

    def made(instance: Instance) -> str:
        lifetime_ns = None
        if instance.expires_unix_nano is not None:
            lifetime_ns = max(1, instance.expires_unix_nano - time.time_ns())
        issued = keys.create(
            "client", name=f"telemetry of {instance.instance_id}", subject=instance.instance_id, lifetime_ns=lifetime_ns
        )
        assert issued.token is not None
        return issued.token

    return made
