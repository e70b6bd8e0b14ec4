"""Commands that stop, pause and resume; operators alone may give them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from headgate_control.room import Room
from headgate_control.server.answers import answered, object_of, text_of, whole_of
from headgate_control.server.doors import Caller, only
from headgate_control.server.wire import WireError
from headgate_control.state import State
from headgate_control.stops.enact import enact, lift
from headgate_control.stops.points import Effects
from headgate_control.stops.stop import Key, Mode, Stop, parse_key

SHOWN_MAX = 8
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRoutes:
    """`/v1/stops`: what holds, and what is to hold."""

    room: Room

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes."""
        return [
            web.get("/v1/stops", self._list),
            web.post("/v1/stops", self._stop),
            web.post("/v1/stops/resume", self._resume),
        ]

    async def _list(self, http: web.Request) -> web.Response:
        self._operator(http)
        stops, now = self.room.now.snapshot.stops, self.room.clock()
        return answered({"epoch": stops.epoch, "stops": [shown_stop(one) for one in stops if one.holds(now)]})

    async def _stop(self, http: web.Request) -> web.Response:
        """Answers when every enforcement point has acknowledged, or 5 s are over; 504 names the silent ones."""
        caller, body = self._operator(http), await object_of(http)
        lifetime_ns = whole_of(body, "lifetime_ns")
        if lifetime_ns is not None and lifetime_ns <= 0:
            raise WireError("lifetime_ns: expected more than nothing: it would be over before anybody heard of it")
        made, found = await enact(
            self.room,
            self._named(body),
            mode=_mode(body),
            author=caller.name,
            reason=text_of(body, "reason") or "",
            expires_unix_nano=None if lifetime_ns is None else self.room.clock() + lifetime_ns,
            session_key=text_of(body, "session_key"),
        )
        is_known = known(self.room.now, made.key)
        told = {**shown_stop(made), **shown_effects(found), "known": is_known, "warning": _warning(made.key, is_known)}
        return answered(told, status=504 if found.silent else 200)

    async def _resume(self, http: web.Request) -> web.Response:
        caller, body = self._operator(http), await object_of(http)
        asked = parse_key(text_of(body, "scope") or "", text_of(body, "id"))
        key = asked if any(one.key == asked for one in self.room.now.snapshot.stops) else self._named(body)
        ended, epoch, found = await lift(self.room, key, author=caller.name, reason=text_of(body, "reason") or "")
        told = {"ended": [shown_stop(one) for one in ended], "epoch": epoch}
        return answered({**told, **shown_effects(found)}, status=504 if found.silent else 200)

    def _named(self, body: Mapping[str, Any]) -> Key:
        """What a command is about; an instance may be named by the beginning of its id."""
        scope, target = parse_key(text_of(body, "scope") or "", text_of(body, "id"))
        return (scope, instance_called(self.room.now, target)) if scope == "instance" else (scope, target)

    def _operator(self, http: web.Request) -> Caller:
        return only(self.room.doors.caller(http.headers.get("authorization")), "operator")


def known(state: State, key: Key) -> bool | None:
    """Whether control has heard of somebody or something that is called so; None of what it keeps no list of."""
    scope, target = key
    every, entries = state.snapshot.instances, state.snapshot.directory.entries
    if scope == "instance":
        return target in every
    if scope in {"team", "workflow"}:
        return target in entries.get(scope, {}) or any(getattr(one, scope) == target for one in every.values())
    if scope == "identity":
        people = (state.keys, entries.get("user", {}), entries.get("service", {}))
        return any(target in one for one in people) or any(
            target in {one.user, one.launched_by} for one in every.values()
        )
    return True if scope == "platform" else None


def instance_called(state: State, name: str) -> str:
    """The id of the instance that has this one, or the only one that begins so.

    Raises:
        WireError: none or several do.
    """
    every = state.snapshot.instances
    found = [name] if name in every else sorted(one for one in every if one.startswith(name))
    if len(found) == 1:
        return found[0]
    if not found:
        raise WireError(f"no instance is called {name!r}: see headgate instance list")
    some = ", ".join(found[:SHOWN_MAX])
    raise WireError(f"{len(found)} instances begin with {name!r}: give more of the id, of {some} …")


def _warning(key: Key, is_known: bool | None) -> str | None:
    """What whoever mistypes an id should know: it holds, and nothing is called so."""
    scope, target = key
    if is_known is not False:
        return None
    return f"no instance is of {scope} {target!r} yet: see headgate instance list"


def shown_stop(stop: Stop) -> dict[str, object]:
    """A stop as commands show it."""
    scope, target = stop.key
    return {
        "stop_id": stop.stop_id,
        "scope": scope,
        "target": target,
        "mode": stop.mode,
        "reason": stop.reason,
        "author": stop.author,
        "epoch": stop.epoch,
        "accepted_unix_nano": stop.accepted_unix_nano,
        "expires_unix_nano": stop.expires_unix_nano,
        "session_key": stop.session_key,
    }


def shown_effects(found: Effects) -> dict[str, object]:
    """What enforcement points did, in milliseconds, and who is silent."""
    effects = [
        {
            "enforcement_point": one.enforcement_point,
            "effect_ms": round(one.effect_ns / _NS_PER_MS, 3),
            "cut": one.cut,
        }
        for one in found.effects
    ]
    return {"effects": effects, "silent": list(found.silent)}


def _mode(body: Mapping[str, Any]) -> Mode:
    found = body.get("mode", "stop")
    if found == "stop":
        return "stop"
    if found == "pause":
        return "pause"
    raise WireError("mode: expected stop or pause")
