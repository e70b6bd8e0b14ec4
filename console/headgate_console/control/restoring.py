"""Putting control state back: what was stopped and revoked since the copy was made is looked for, named and kept."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from headgate_console.control.keeping import WRITER, kept_of, person
from headgate_console.control.place import Place
from headgate_console.queries.opening import open_views
from headgate_control.identity.instance import LIVING
from headgate_control.kinds import EPOCH, INSTANCE, STOP, read_stop
from headgate_control.stops.carrying import Carried, Known, carry, known_of
from headgate_control.stops.stop import Stop, parse_key
from headgate_control.store.backup import Restored, restore
from headgate_control.store.opening import open_sqlite, read_sqlite
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.errors import ConfigError, StoreError, TransientError

if TYPE_CHECKING:
    from headgate_console.settings import Settings

_UNREADABLE = (StoreError, TransientError, ConfigError, AttributeError, KeyError, TypeError, ValueError)
_COLUMNS = "stop_id, scope, target, mode, reason, author, epoch, accepted_unix_nano, expires_unix_nano, state"

_EPOCHS = """
SELECT max(epoch) FROM stops
UNION ALL SELECT max(epoch) FROM stop_effects
UNION ALL SELECT max(stop_epoch) FROM decisions
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """What was put back, what of later was carried into it, and what could not be asked (with why)."""

    restored: Restored
    carried: Carried
    tokens: tuple[str, ...]
    unread: tuple[str, ...]


@dataclass(slots=True)
class _Sources:
    found: list[Known] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def put_back(settings: "Settings", file: Path, *, gateways: Sequence[Path], keep: bool) -> PutBack:
    """Put a copy of control state back. `gateways` are the files in which gateways keep what they know of control.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be; the database is PostgreSQL.
        StoreError: control runs there, or a chain in the copy has a fault.
        OSError: the disk refuses.
    """
    kept, place, carried = kept_of(settings), Place(data=settings.data), list[Carried]()
    sources, revoked = _sources(settings, place, gateways), _revoked_tokens(settings.data)

    def ready(folder: Path) -> None:
        with closing(open_sqlite(folder / kept.database, writer=WRITER)) as copy:
            now = time.time_ns()
            carried.append(carry(copy, sources.found, keep=keep, author=person(), at_unix_nano=now))

    restored = restore(file, settings.data, kept, ready=ready)
    tokens = tuple(sorted(_good_tokens(settings.data) & revoked))
    for token_id in tokens if keep else ():
        KeyStore(settings.data).revoke(token_id)
    return PutBack(restored=restored, carried=carried[0], tokens=tokens, unread=tuple(sources.unread))


def _sources(settings: "Settings", place: Place, gateways: Iterable[Path]) -> _Sources:
    """Everybody at hand who knows of stops: the state that is to be set aside, the views, gateways.

    Raises:
        ConfigError: the file of a gateway is none.
    """
    sources = _Sources()
    if place.database.is_file():
        try:
            with closing(read_sqlite(place.database)) as store:
                sources.found.append(known_of(store))
        except _UNREADABLE as error:
            sources.unread.append(f"the state that was there cannot be read ({error})")
    try:
        sources.found.append(_known_of_views(settings))
    except (*_UNREADABLE, OSError) as error:
        sources.unread.append(f"the views cannot be read ({error})")
    sources.found += map(_known_of_gateway, gateways)
    return sources


def _known_of_views(settings: "Settings") -> Known:
    """What the views have of stops and instances, and the last epoch that anybody decided by or acknowledged."""
    with open_views(settings, only={"stops", "instances", "decisions", "stop_effects"}) as connection:
        rows = connection.sql(f"SELECT {_COLUMNS} FROM stops").to_arrow_table().to_pylist()
        states = connection.sql("SELECT instance_id, state FROM instances").fetchall()
        epochs = connection.sql(_EPOCHS).fetchall()
    return Known(
        held={str(row["stop_id"]): _stop(row) for row in rows if row["state"] == "active"},
        seen=frozenset(str(row["stop_id"]) for row in rows),
        epoch=max(int(epoch or 0) for (epoch,) in epochs),
        revoked=frozenset(str(name) for name, state in states if state == "revoked"),
    )


def _stop(row: dict[str, Any]) -> Stop:
    told = {name: row[name] for name in _COLUMNS.split(", ") if name not in {"scope", "target", "state"}}
    return Stop(key=parse_key(row["scope"], row["target"]), **told)


def _known_of_gateway(path: Path) -> Known:
    """What a gateway elsewhere knows, from its `control.json`.

    Raises:
        ConfigError: it cannot be read, or is no such file.
    """
    try:
        records = orjson.loads(path.read_bytes())["records"]
        held = {stop.stop_id: stop for stop in map(read_stop, _bodies(records, STOP))}
        epochs = [int(body["epoch"]) for body in _bodies(records, EPOCH)]
        over = {str(body["instance_id"]) for body in _bodies(records, INSTANCE) if body["state"] not in LIVING}
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"{path}: {error!r}. Expected the control.json of a gateway's folder"
        raise ConfigError(message) from error
    return Known(held=held, seen=frozenset(held), epoch=max(epochs, default=0), revoked=frozenset(over))


def _bodies(records: Iterable[Any], kind: str) -> Iterator[Any]:
    return (record["body"] for record in records if record["kind"] == kind)


def _revoked_tokens(data: Path) -> frozenset[str]:
    """The tokens that are revoked by now; none where the key store cannot be read."""
    try:
        every = KeyStore(data).keys().by_id.values()
    except ConfigError:
        return frozenset()
    return frozenset(one.token_id for one in every if one.revoked_unix_nano is not None)


def _good_tokens(data: Path) -> frozenset[str]:
    return frozenset(one.token_id for one in KeyStore(data).keys().by_id.values() if one.revoked_unix_nano is None)
