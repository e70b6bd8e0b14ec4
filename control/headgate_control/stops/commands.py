"""Stopping, pausing and resuming: a change of control state that every enforcement point hears of."""

import time
from collections.abc import Callable

from headgate_control.identity.instance import new_id
from headgate_control.kinds import EPOCH, STOP, read_stop, write_stop
from headgate_control.stops.stop import REASON_CHARS_MAX, Key, Mode, Stop
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change, ConflictError
from headgate_processors.errors import ConfigError

EPOCH_ID = "stops"
_TRIES_MAX = 20


def stop(
    store: ControlStore,
    key: Key,
    *,
    mode: Mode,
    author: str,
    reason: str,
    expires_unix_nano: int | None = None,
    session_key: str | None = None,
    clock: Callable[[], int] = time.time_ns,
) -> Stop:
    """Stop or pause what `key` names; in place of an earlier stop or pause of it.

    Raises:
        ConfigError: there is no reason, or it is too long.
        TransientError: the store cannot be written.
    """
    if not reason.strip() or len(reason) > REASON_CHARS_MAX:
        message = f"a {mode} has a reason, of {REASON_CHARS_MAX} characters at most: --reason TEXT"
        raise ConfigError(message)
    for _ in range(_TRIES_MAX):
        epoch, revision = _epoch(store)
        made = Stop(
            stop_id=new_id("stop"),
            key=key,
            mode=mode,
            reason=reason.strip(),
            author=author,
            accepted_unix_nano=clock(),
            epoch=epoch + 1,
            expires_unix_nano=expires_unix_nano,
            session_key=session_key,
        )
        changes = [_next(epoch, revision), Change(kind=STOP, id=record_id(key, mode), body=write_stop(made))]
        try:
            store.change(changes, author=author, action=f"stop.{mode}", reason=made.reason)
        except ConflictError:
            continue
        return made
    raise ConflictError("other stops come faster than this one can: try again")


def resume(store: ControlStore, key: Key, *, author: str, reason: str) -> tuple[list[Stop], int]:
    """End the stop and the pause of what `key` names; what ended, and the epoch of it.

    Raises:
        ConfigError: it is neither stopped nor paused.
        TransientError: the store cannot be written.
    """
    for _ in range(_TRIES_MAX):
        epoch, revision = _epoch(store)
        found = [one for mode in ("stop", "pause") if (one := store.get(STOP, record_id(key, mode))) is not None]
        if not found:
            message = f"{key[0]} {key[1]}".strip() + " is neither stopped nor paused"
            raise ConfigError(message)
        ends = [Change(kind=STOP, id=one.id, body=None, revision=one.revision) for one in found]
        try:
            store.change([_next(epoch, revision), *ends], author=author, action="stop.resume", reason=reason)
        except ConflictError:
            continue
        return [read_stop(one.body) for one in found], epoch + 1
    raise ConflictError("other stops come faster than this can end one: try again")


def _epoch(store: ControlStore) -> tuple[int, int]:
    """The epoch as it is, and the revision of its record."""
    record = store.get(EPOCH, EPOCH_ID)
    return (int(str(record.body["epoch"])), record.revision) if record is not None else (0, 0)


def _next(epoch: int, revision: int) -> Change:
    return Change(kind=EPOCH, id=EPOCH_ID, body={"epoch": epoch + 1}, revision=revision)


def record_id(key: Key, mode: str) -> str:
    """The id of the record of a stop or a pause."""
    return f"{mode}:{key[0]}:{key[1]}"
