"""The addresses that a listener may have."""

import ipaddress

from headgate_processors.errors import ConfigError


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


def shown_address(host: str, port: int) -> str:
    """`HOST:PORT`, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guarded_address(text: str, *, setting: str, is_private: bool, front: str = "a Collector") -> tuple[str, int]:
    """Host and port of a listener; `is_private` says that nobody on the way can read along.

    `front` is what may stand before it.

    Raises:
        ConfigError: `text` is not `HOST:PORT`, or other machines would send tokens and content in clear.
    """
    host, port = parsed_address(text, setting=setting)
    if not is_private and not is_loopback(host):
        section = setting.rpartition(".")[0]
        message = (
            f"{setting}: {text} can be reached from other machines, and what they send could be read on the way. "
            f"Give it a certificate ({section}.tls.cert_file, {section}.tls.key_file), listen on 127.0.0.1:{port} "
            f"and let {front} take what comes from outside, or trust the network: {section}.insecure: true"
        )
        raise ConfigError(message)
    return host, port
