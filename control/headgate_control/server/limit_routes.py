"""Commands about limits: how fast a scope may call, and how much at once."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web

from headgate_control.kinds import LIMIT
from headgate_control.limits.limit import Limit
from headgate_control.room import Room
from headgate_control.server.answers import answered, object_of, reason_of, text_of, whole_of
from headgate_control.server.budget_routes import parse_place
from headgate_control.server.doors import Caller, only
from headgate_control.store.record import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRoutes:
    """`/v1/limits`. A place has one limit that is set, which setting again changes; that of a manifest is its own."""

    room: Room

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes."""
        return [web.get("/v1/limits", self._list), web.put("/v1/limits", self._set)]

    async def _list(self, http: web.Request) -> web.Response:
        self._operator(http)
        found = sorted(filter(self._holds, self.room.now.limits.values()), key=lambda one: (one.place, one.limit_id))
        return answered({"limits": [shown_limit(one) for one in found]})

    def _holds(self, limit: Limit) -> bool:
        """Whether anybody may still be held to it: an instance that is over calls no more."""
        scope, target = limit.place
        instance = self.room.now.snapshot.instances.get(target) if scope == "instance" else None
        return instance is None or instance.is_living(self.room.clock())

    async def _set(self, http: web.Request) -> web.Response:
        caller, body = self._operator(http), await object_of(http)
        scope, target = parse_place(body)
        limit_id = f"{scope}:{target}"
        amounts = {name: whole_of(body, name) for name in ("calls_per_minute", "tokens_per_minute", "open_calls_max")}
        told: dict[str, object] = {"limit_id": limit_id, "scope": scope, "target": target}
        change = Change(kind=LIMIT, id=limit_id, body=None)
        if text_of(body, "remove") is None:
            limit = Limit(limit_id=limit_id, place=(scope, target), **amounts)
            told, change = shown_limit(limit), Change(kind=LIMIT, id=limit_id, body=limit.written())
        why = reason_of(body)
        await asyncio.to_thread(self.room.store.change, [change], author=caller.name, action="limit.set", reason=why)
        await self.room.refresh()
        return answered(told)

    def _operator(self, http: web.Request) -> Caller:
        return only(self.room.doors.caller(http.headers.get("authorization")), "operator")


def shown_limit(limit: Limit) -> dict[str, object]:
    """A limit as commands show it."""
    scope, target = limit.place
    return {
        "limit_id": limit.limit_id,
        "scope": scope,
        "target": target,
        "calls_per_minute": limit.calls_per_minute,
        "tokens_per_minute": limit.tokens_per_minute,
        "open_calls_max": limit.open_calls_max,
    }
