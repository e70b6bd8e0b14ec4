"""Keeping control state: what of the data folder is its own, what it holds now, and who changes its keys."""

import getpass
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate_console.control.holding import writer_name
from headgate_console.control.place import CALLS, FOLDER, Place
from headgate_console.control.reading import KEYS, reading
from headgate_control.audit.heads import ANCHOR, heads
from headgate_control.budgets.books import books_of
from headgate_control.identity.signing_keys import SigningKeys
from headgate_control.kinds import CREDENTIAL, INSTANCE, STOP, read_stop
from headgate_control.policy.kept import in_use
from headgate_control.store.backup import Kept
from headgate_control.store.hold import HOLDER, HOLDER_ID
from headgate_control.store.opening import open_postgresql, open_sqlite
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change
from headgate_processors.credentials.tokens import Credential
from headgate_processors.errors import ConfigError
from headgate_processors.store.lock import holder_of, is_held

if TYPE_CHECKING:
    from headgate_console.settings import Settings

WRITER = "commands"
SIGNING_KEY = "signing_key"
HASH_KEY = "hash_key"


def kept_of(settings: "Settings") -> Kept:
    """What a backup of control holds.

    Raises:
        ConfigError: the database is PostgreSQL, which has its own tools.
    """
    if settings.control.database is not None:
        message = (
            "control.database is PostgreSQL: copy it with pg_dump, and with it the files below "
            f"{Place(data=settings.data).folder} and {settings.data / 'keys'}"
        )
        raise ConfigError(message)
    return Kept(
        folder=FOLDER,
        database=f"{FOLDER}/control.sqlite",
        logs=f"{FOLDER}/log",
        replaced=("credentials.json", "admin.token"),
        added=("keys",),
        left_out=(f"{FOLDER}/addresses.json", f"{FOLDER}/registry.json", f"{FOLDER}/{CALLS}"),
    )


def signing_keys(settings: "Settings") -> SigningKeys:
    """The keys that control signs with; made where there is none.

    Raises:
        ConfigError: they cannot be read.
    """
    return SigningKeys.open(Place(data=settings.data).folder / KEYS)


def note(settings: "Settings", kind: str, key_id: str, *, action: str) -> None:
    """Write into the journal that a key was changed, where there is one.

    Raises:
        TransientError: the store cannot be written.
    """
    _note(settings, Change(kind=kind, id=key_id, body={"key_id": key_id}), action=action)


def note_credential(settings: "Settings", credential: Credential, *, action: str, reason: str = "") -> None:
    """Write into the journal what became of a token or a certificate, where there is one; never its digest.

    Raises:
        TransientError: the store cannot be written.
    """
    told = {name: value for name, value in asdict(credential).items() if name != "digest"}
    body = {**told, "state": credential.state(time.time_ns())}
    _note(settings, Change(kind=CREDENTIAL, id=credential.token_id, body=body), action=action, reason=reason)


def _note(settings: "Settings", change: Change, *, action: str, reason: str = "") -> None:
    place = Place(data=settings.data)
    if settings.control.database is None and not place.database.is_file():
        return
    with changing(settings) as store:
        store.change([change], author=person(), action=action, reason=reason)


def status_of(settings: "Settings") -> dict[str, Any]:
    """What control state holds, as of this moment."""
    place = Place(data=settings.data)
    with reading(settings) as store:
        chains = [
            {"kept": head.kept, "writer": head.writer, "records": head.number} for head in heads(store, place.logs)
        ]
        own = (None, books_of(place.logs))
        anchored = [record.body for record in store.all(ANCHOR) if record.body.get("books") in own]
        holder = store.get(HOLDER, HOLDER_ID)
        states = [str(record.body.get("state")) for record in store.all(INSTANCE)]
        held = [read_stop(record.body) for record in store.all(STOP)]
        policies = [dict(body) for body in in_use(store)]
    database = settings.control.database is None
    return {
        "database": str(place.database) if database else "postgresql",
        "database_bytes": place.database.stat().st_size if database else None,
        "running": _running(place.folder),
        "holder": None if holder is None else dict(holder.body),
        "instances": {state: states.count(state) for state in sorted(set(states))},
        "stops": sum(stop.holds(time.time_ns()) for stop in held),
        "policies": policies,
        "chains": [{**chain, "anchored": _anchored(anchored, chain)} for chain in chains],
        "signing_keys": len(SigningKeys(place.folder / KEYS).ring().keys),
    }


def _anchored(bodies: list[Any], chain: dict[str, Any]) -> int | None:
    """How many records of a log the journal has the head of; None where it has none."""
    found = [body["number"] for body in bodies if (body["kept"], body["writer"]) == (chain["kept"], chain["writer"])]
    return max(found, default=None)


def _running(folder: Path) -> str | None:
    held = [lock for lock in sorted(folder.rglob("*.lock")) if is_held(lock)]
    return str(holder_of(held[0]) or "another process") if held else None


@contextmanager
def changing(settings: "Settings") -> Iterator[ControlStore]:
    """The control state of the settings, to be changed beside a running control, which hears of it within a second.

    Raises:
        StoreError: it cannot be opened, or is of a newer Headgate.
    """
    place = Place(data=settings.data)
    if settings.control.database is not None:
        opened = open_postgresql(settings.control.database, writer=writer_name(WRITER, place))
    else:
        opened = open_sqlite(place.database, writer=WRITER)
    with closing(opened) as store:
        yield store


def person() -> str:
    """Who types: the name on this machine."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"somebody@{socket.gethostname()}"
