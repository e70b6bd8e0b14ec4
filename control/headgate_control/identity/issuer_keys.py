"""The public keys of issuers: in a file, at an address, or where OpenID Connect's discovery says that they are."""

import http.client
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import orjson
from jwt import PyJWK, PyJWKSet, PyJWTError

from headgate_control.identity.issuers_file import ForeignIssuer, is_safe
from headgate_processors.credentials.watched import WatchedFile
from headgate_processors.errors import TransientError

DISCOVERY = "/.well-known/openid-configuration"
ANSWER_BYTES_MAX = 1 << 20
FETCH_TIMEOUT_S = 5.0
FETCH_S_MAX = 15.0
FETCH_EVERY_S = 3_600
FETCH_AGAIN_S = 60
KEPT_S_MAX = 86_400
"""How long keys are good that cannot be fetched again: whoever withdrew one is not heard."""

Keys = Mapping[str | None, PyJWK]


class KeySource(Protocol):
    """The public keys of an issuer."""

    def keys(self) -> Keys:
        """Those that are good now."""

    def want(self) -> None:
        """A token names a key that is not there."""

    def is_due(self) -> bool:
        """Whether they are to be fetched."""

    def refresh(self) -> None:
        """Fetch them.

        Raises:
            TransientError: there are none.
        """


class FileKeys:
    """Keys in a file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._file: WatchedFile[Keys] = WatchedFile(path, parsed_keys)

    def keys(self) -> Keys:
        """As `KeySource`."""
        return self._file.value()

    def want(self) -> None:
        """The file is looked at each time anyway."""

    def is_due(self) -> bool:
        """Never."""
        return False

    def refresh(self) -> None:
        """Nothing is fetched."""


class FetchedKeys:
    """Keys as they were fetched last, good for a day when they cannot be fetched again."""

    def __init__(self, fetch: Callable[[], Keys], clock: Callable[[], int]) -> None:
        self._fetch, self._clock = fetch, clock
        self._keys: Keys = {}
        self._is_wanted = False
        self._tried_s = self._fetched_s = float("-inf")

    def keys(self) -> Keys:
        """As `KeySource`."""
        return self._keys if self._now_s() - self._fetched_s < KEPT_S_MAX else {}

    def want(self) -> None:
        """As `KeySource`."""
        self._is_wanted = True

    def is_due(self) -> bool:
        """As `KeySource`."""
        is_rested = self._tried_s == self._fetched_s and not self._is_wanted
        return self._now_s() - self._tried_s >= (FETCH_EVERY_S if is_rested else FETCH_AGAIN_S)

    def refresh(self) -> None:
        """As `KeySource`."""
        self._tried_s = self._now_s()
        self._keys = self._fetch()
        self._fetched_s, self._is_wanted = self._tried_s, False

    def _now_s(self) -> float:
        return self._clock() / 1e9


def source_of(issuer: ForeignIssuer, clock: Callable[[], int]) -> KeySource:
    """Where the keys of an issuer come from."""
    if issuer.jwks_file is not None:
        return FileKeys(issuer.jwks_file)
    address = issuer.jwks_uri
    if address is not None:
        return FetchedKeys(lambda: fetched_keys(address), clock)
    return FetchedKeys(lambda: fetched_keys(discovered(issuer.issuer)), clock)


def discovered(issuer: str) -> str:
    """Where an issuer says that its keys are.

    Raises:
        TransientError: it says so nowhere, speaks of another issuer, or names a place that others can change.
    """
    address = issuer.rstrip("/") + DISCOVERY
    try:
        told = orjson.loads(_fetched(address))
    except orjson.JSONDecodeError as error:
        raise TransientError(f"{address} answers what is no JSON") from error
    if not isinstance(told, dict) or told.get("issuer") != issuer:
        raise TransientError(f"{address} speaks of another issuer than {issuer}: write it as it stands there")
    keys = told.get("jwks_uri")
    is_own = urlsplit(issuer).scheme == "http"
    if not isinstance(keys, str) or not is_safe(keys) or (urlsplit(keys).scheme == "http" and not is_own):
        raise TransientError(f"{address} names no jwks_uri that begins with https://")
    return keys


def fetched_keys(address: str) -> Keys:
    """The keys at an address.

    Raises:
        TransientError: there are none.
    """
    try:
        return parsed_keys(_fetched(address))
    except ValueError as error:
        raise TransientError(f"{address} cannot be used: {error}") from error


def parsed_keys(content: bytes) -> Keys:
    """The public keys of a JWKS, by id.

    Raises:
        ValueError: it is none, or holds a key that is no public one.
    """
    try:
        keys = PyJWKSet.from_json(content.decode()).keys
    except (PyJWTError, AttributeError, TypeError, RecursionError) as error:
        message = f"no JWKS with public keys: {type(error).__name__}"
        raise ValueError(message) from None
    if any(key.key_type not in {"EC", "RSA", "OKP"} for key in keys):
        raise ValueError("no JWKS with public keys: one of them is a shared secret")
    return {key.key_id: key for key in keys}


def _fetched(address: str) -> bytes:
    """What is at an address: one answer of bounded size in bounded time, no redirect is followed.

    Raises:
        TransientError: there is nothing.
    """
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=FETCH_TIMEOUT_S)
    late = threading.Timer(FETCH_S_MAX, _cut, [connection])
    late.daemon = True
    try:
        late.start()
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        response = connection.getresponse()
        content = response.read(ANSWER_BYTES_MAX + 1)
        if response.status != http.client.OK:
            raise TransientError(f"{address} answers {response.status}, and 200 was expected")
        if len(content) > ANSWER_BYTES_MAX:
            raise TransientError(f"{address} answers with more than {ANSWER_BYTES_MAX >> 20} MiB")
        return content
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise TransientError(f"{address} cannot be fetched: {error}") from error
    finally:
        late.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a connection on which bytes come one by one."""
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)
