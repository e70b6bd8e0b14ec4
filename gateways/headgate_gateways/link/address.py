"""Where control is, and how a gateway speaks to it: with its token, and never in the clear past this machine."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import aiohttp
from yarl import URL

from headgate_processors.errors import ConfigError

CONNECT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlAddress:
    """The address of control, such as `https://control.example:7410`; `token` gives the gateway's own, as it is now.

    `ca_file`: the authority that signed control's certificate, where the system does not know it.

    Raises:
        ConfigError: it is no address, or would carry the token over a network unprotected.
    """

    url: str
    token: Callable[[], str]
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        found = URL(self.url)
        if found.scheme not in {"http", "https"} or not found.host:
            message = f"control {self.url!r}: expected an address such as https://control.example:7410"
            raise ConfigError(message)
        if found.scheme == "http" and not _is_loopback(found.host):
            message = f"control {self.url!r}: a token goes there, so past this machine it is https://…"
            raise ConfigError(message)

    def path(self, path: str) -> URL:
        """The address of one of its routes."""
        return URL(self.url.rstrip("/") + path)

    def headers(self) -> dict[str, str]:
        """What shows who asks."""
        return {"authorization": f"Bearer {self.token()}"}

    def client(self) -> aiohttp.ClientSession:
        """A client for it that follows nobody's proxy variables and keeps no cookies.

        Raises:
            ConfigError: the authority's file cannot be read.
        """
        try:
            trusted = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        except OSError as error:
            message = f"the authority of control's certificate cannot be read: {self.ca_file}: {error}"
            raise ConfigError(message) from error
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
