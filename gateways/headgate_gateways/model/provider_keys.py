"""Where the keys of providers are: in the environment, in files, or behind a command; for the gateway alone."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from headgate_gateways.model.key_command import KeyCommand
from headgate_processors.credentials.watched import WatchedFile
from headgate_processors.errors import ConfigError, TransientError

KEY_CHARS_MAX = 8_192
PLACES = "env:NAME, file:PATH or command:LINE, never the key itself"
Source = Callable[[], str]


def key_source(where: str, environment: Mapping[str, str] | None = None) -> Source:
    """What gives the key at `env:NAME`, `file:PATH` or `command:LINE`.

    A file is read again when it is replaced, a command asked again every few minutes.

    The source raises `TransientError` while there is no key.

    Raises:
        ConfigError: `where` is none of them.
    """
    scheme, _, name = where.partition(":")
    if scheme == "env" and name:
        return lambda: _key((environment or os.environ).get(name), where)
    if scheme == "file" and name:
        file = WatchedFile(Path(name), lambda content: content.decode().strip())
        return lambda: _key(_read(file), where)
    if scheme == "command" and name:
        command = KeyCommand(name)
        return lambda: _key(command(), "what its command prints")
    raise ConfigError(f"api_key: expected {PLACES}")


def _read(file: "WatchedFile[str]") -> str:
    try:
        return file.value()
    except ConfigError as error:
        raise TransientError(str(error)) from error


def _key(text: str | None, where: str) -> str:
    """The key, if it can stand in a header."""
    if not text or len(text) > KEY_CHARS_MAX or not text.isascii() or not text.isprintable():
        raise TransientError(f"there is no key of the provider at {where}: set it where the gateway runs")
    return text
