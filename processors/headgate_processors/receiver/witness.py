"""Who speaks to a listener, and which addresses a listener may have.

Witness is decided by the sender's credential, never by an attribute. There are no credentials yet, so
only loopback may be listened on, and whoever is there is a `client`.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from headgate_processors.errors import ConfigError
from headgate_processors.receiver.port import CLIENT, Sender


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The sender of one request: its address and the headers or metadata that it sent, names in lower case."""

    address: str
    headers: Mapping[str, str]


def sender_of(peer: Peer) -> Sender:  # noqa: ARG001
    """Who sent a request: without a credential, on loopback, a client."""
    return CLIENT


def parsed_address(text: str, *, setting: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPv6]:PORT`.

    Raises:
        ConfigError: `text` is neither.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        message = f"{setting}: {text!r} is not HOST:PORT (such as 127.0.0.1:4317; port 0 picks a free one)"
        raise ConfigError(message)
    return host, int(port)


def loopback_address(text: str, *, setting: str) -> tuple[str, int]:
    """Host and port of a listener that needs no credentials.

    Raises:
        ConfigError: `text` is not `HOST:PORT`, or its host can be reached from other machines.
    """
    host, port = parsed_address(text, setting=setting)
    if not _is_loopback(host):
        message = (
            f"{setting}: {text} can be reached from other machines, and no credentials are configured. "
            f"Listen on 127.0.0.1:{port} and let a Collector on this machine take what comes from outside."
        )
        raise ConfigError(message)
    return host, port


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
