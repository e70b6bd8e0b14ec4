"""Stops carried out: written down, told to every enforcement point, and waited for."""

import asyncio
import time
from collections.abc import Callable

from headgate_control.room import Room
from headgate_control.stops.commands import resume, stop
from headgate_control.stops.points import Effect, Effects
from headgate_control.stops.stop import Key, Mode, Stop

WAIT_S = 5.0


async def enact(
    room: Room,
    key: Key,
    *,
    mode: Mode,
    author: str,
    reason: str,
    expires_unix_nano: int | None = None,
    session_key: str | None = None,
) -> tuple[Stop, Effects]:
    """Stop or pause what `key` names; what every point did, within `WAIT_S`.

    Raises:
        ConfigError: there is no reason, or it is too long.
        TransientError: the store cannot be written.
    """
    began_ns = time.monotonic_ns()
    made = await asyncio.to_thread(
        stop,
        room.store,
        key,
        mode=mode,
        author=author,
        reason=reason,
        expires_unix_nano=expires_unix_nano,
        session_key=session_key,
        clock=room.clock,
    )

    def late(effect: Effect) -> None:
        room.heard(made.stop_id, made.epoch, Effects(effects=(effect,), silent=()))

    found = await _effects(room, made.epoch, began_ns, late)
    room.heard(made.stop_id, made.epoch, found)
    return made, found


async def lift(room: Room, key: Key, *, author: str, reason: str) -> tuple[list[Stop], int, Effects]:
    """End the stop and the pause of what `key` names: what ended, the epoch, and who has heard of it.

    Raises:
        ConfigError: it is neither stopped nor paused.
        TransientError: the store cannot be written.
    """
    began_ns = time.monotonic_ns()
    ended, epoch = await asyncio.to_thread(resume, room.store, key, author=author, reason=reason)
    return ended, epoch, await _effects(room, epoch, began_ns)


async def _effects(room: Room, epoch: int, began_ns: int, late: Callable[[Effect], None] | None = None) -> Effects:
    room.points.accepted(epoch, began_ns)
    await room.refresh()
    return await room.points.effects(epoch, wait_s=WAIT_S, late=late)
