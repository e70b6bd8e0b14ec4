"""The start of a Collector: its environment beside a store, and what would keep it from starting."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headgate_console.collector.catalogue import Selection, select
from headgate_console.collector.files import missing, needs, paths, variables
from headgate_console.errors import CommandError
from headgate_processors.credentials.issuer import ISSUER, JWKS_FILE, make_keys
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.errors import ConfigError
from headgate_processors.files import write_whole

FOLDER = "collector"
TOKEN_FILE = "receiver-token"  # noqa: S105 - the name of a file
_HOST = "HEADGATE_COLLECTOR_LISTEN"
_PORTS = ("HEADGATE_COLLECTOR_GRPC_PORT", "HEADGATE_COLLECTOR_HTTP_PORT", "HEADGATE_COLLECTOR_PLATFORM_PORT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A Collector that can be started: what with, in which environment."""

    selection: Selection
    files: tuple[Path, ...]
    environment: Mapping[str, str]


def environment_beside(data: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a Collector beside the store in `data`; what `environment` says already stays as it is.

    Queue, keys and token lie in `collector` of that folder.
    """
    own = (data / FOLDER).absolute()
    known = {"HEADGATE_COLLECTOR_DATA": str(own / "queue"), **_keys(own), **_token(own)}
    return {**known, **{name: value for name, value in environment.items() if value or name not in known}}


def prepare(selection: Selection, environment: Mapping[str, str], *, data: Path) -> Launch:
    """What a start beside the store in `data` takes. The overlay `platform` is added to `local` where keys are.

    Raises:
        ConfigError: a variable is missing; the message names all of them.
    """
    complete = environment_beside(data, environment)
    if selection.label == "local" and complete.get("HEADGATE_COLLECTOR_JWKS_FILE"):
        selection = select("local", "platform")
    absent = missing(selection, complete)
    if absent:
        raise ConfigError(needs(selection, absent))
    return Launch(selection=selection, files=paths(selection), environment=complete)


def _keys(own: Path) -> dict[str, str]:
    keys = own / JWKS_FILE
    if not keys.is_file():
        return {}
    return {"HEADGATE_COLLECTOR_JWKS_FILE": str(keys), "HEADGATE_COLLECTOR_ISSUER": ISSUER}


def _token(own: Path) -> dict[str, str]:
    try:
        return {"HEADGATE_COLLECTOR_TOKEN": (own / TOKEN_FILE).read_text(encoding="utf-8").strip()}
    except FileNotFoundError:
        return {}


def make_credentials(data: Path) -> tuple[Path, Path | None]:
    """What a Collector beside the store in `data` needs for 4319: keys, and once its own token at the receiver.

    Gives the file of public keys, and that of the token when it was made.

    Raises:
        ConfigError: the key store or an earlier file of keys cannot be read.
    """
    own = data / FOLDER
    public = make_keys(own)
    token = own / TOKEN_FILE
    if token.exists():
        return public, None
    issued = KeyStore(data).create("collector", name="the Collector beside this store")
    write_whole(token, f"{issued.token}\n".encode())
    return public, token


def check_ports(launch: Launch) -> None:
    """See whether the ports are free, because a Collector's own words for it name neither cause nor cure.

    Raises:
        CommandError: one is taken.
    """
    defaults = {variable.name: variable.default or "" for variable in variables(launch.selection)}
    values = {name: launch.environment.get(name) or default for name, default in defaults.items()}
    for name in _PORTS:
        if name in values and _is_taken(values[_HOST], values[name]):
            message = (
                f"{values[_HOST]}:{values[name]} is taken. Another Collector, or `headgate up` without"
                f" --behind-collector, listens there: end it, or set {name}."
            )
            raise CommandError(message)


def _is_taken(host: str, port: str) -> bool:
    try:
        with socket.create_server((host, int(port)), reuse_port=False):
            return False
    except ValueError as error:
        message = f"{port!r} is no port."
        raise ConfigError(message) from error
    except OSError:
        return True
