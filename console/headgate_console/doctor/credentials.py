"""The examination of credentials: tokens and certificates that end soon, and files that cannot be read."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headgate_console.doctor.finding import Finding, Level
from headgate_console.render.numbers import ago, duration, plural
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.credentials.tokens import Credential
from headgate_processors.errors import ConfigError
from headgate_processors.receiver.tls import TlsConfig, TlsFiles, ends_at

TOPIC = "credentials"
SOON = timedelta(days=14)
LISTED_MAX = 5
_NS_PER_S = 1_000_000_000


def examine_credentials(data: Path, *tls: TlsConfig | None, now: datetime) -> list[Finding]:
    """Every check of the tokens of a folder and of the certificates of its listeners; nothing when there are none."""
    return [*_tokens(data, now), *(finding for one in tls for finding in _certificate(one, now))]


def _tokens(data: Path, now: datetime) -> Iterator[Finding]:
    keys = KeyStore(data)
    try:
        every = keys.keys().by_id.values()
    except ConfigError as error:
        yield Finding(
            topic=TOPIC,
            level=Level.WARNING,
            text=f"Credentials cannot be read, so every token is refused: {error}.",
            next_step="Mend the file; what Collectors have to send stays in their queues meanwhile.",
        )
        return
    standing = [one for one in every if one.revoked_unix_nano is None]
    ending = [one for one in standing if (end := _end(one)) is not None and end - now < SOON]
    if not standing:
        return
    yield Finding(
        topic=TOPIC,
        level=Level.WARNING if ending else Level.OK,
        text=f"{plural(len(standing), 'credential')}, {len(ending)} of them ended or ending within {SOON.days} days."
        if ending
        else f"{plural(len(standing), 'credential')}, none ends within {SOON.days} days.",
        next_step="Make another one, give it to its sender, then revoke this one: docs/guides/credentials.md."
        if ending
        else "",
        details=tuple(_told(one, now) for one in ending[:LISTED_MAX]),
        rows=tuple(
            {"token_id": one.token_id, "role": one.role, "name": one.name, "expires_time": _end(one)} for one in ending
        ),
    )


def _certificate(config: TlsConfig | None, now: datetime) -> Iterator[Finding]:
    if config is None:
        return
    try:
        TlsFiles(config)
        end = ends_at(config.cert_file.read_bytes())
    except (ConfigError, OSError, ValueError) as error:
        yield Finding(
            topic="certificate",
            level=Level.WARNING,
            text=f"A listener could not start with its certificate: {error}",
            next_step=f"Give files that fit together: {config.setting}.cert_file and {config.setting}.key_file.",
        )
        return
    soon = end - now < SOON
    yield Finding(
        topic="certificate",
        level=Level.WARNING if soon else Level.OK,
        text=f"{config.cert_file} {_ends(end, now)}.",
        next_step="Replace the files; they are taken up without a restart." if soon else "",
        rows=({"file": str(config.cert_file), "expires_time": end},),
    )


def _told(credential: Credential, now: datetime) -> str:
    end = _end(credential)
    assert end is not None
    named = f" ({credential.name})" if credential.name else ""
    return f"{credential.token_id}{named} {_ends(end, now)}"


def _ends(end: datetime, now: datetime) -> str:
    left = end - now
    if left <= timedelta(0):
        return f"ended {ago(end, now)}"
    return f"ends in {duration(round(left.total_seconds()) * _NS_PER_S)}"


def _end(credential: Credential) -> datetime | None:
    expires = credential.expires_unix_nano
    return None if expires is None else datetime.fromtimestamp(expires / _NS_PER_S, UTC)
