"""Tokens of instances, and the keys by which anybody verifies them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from aiohttp import web

from headgate_control.identity.signing_keys import SigningKeys
from headgate_control.identity.web_tokens import LIFETIME_S, InstanceTokens
from headgate_control.room import Room
from headgate_control.server.answers import answered, object_of, text_of
from headgate_control.server.doors import only
from headgate_control.server.wire import WireError
from headgate_processors.credentials.issuer import Audience
from headgate_processors.errors import ForbiddenError


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRoutes:
    """`/v1/instances/ID/token`, for operators and runtimes, and `/.well-known/jwks.json`, for everybody."""

    room: Room
    keys: SigningKeys

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes."""
        return [
            web.post("/v1/instances/{id}/token", self._mint),
            web.get("/.well-known/jwks.json", self._jwks),
        ]

    async def _jwks(self, _: web.Request) -> web.Response:
        return answered(self.keys.jwks(), headers={"cache-control": "max-age=60"})

    async def _mint(self, http: web.Request) -> web.Response:
        """A token for one audience; refused to an instance that is over, or that something holds."""
        only(self.room.doors.caller(http.headers.get("authorization")), "operator", "gateway")
        wanted = text_of(await object_of(http), "audience") or "headgate-gateway"
        audience: Audience | None = next((one for one in get_args(Audience) if one == wanted), None)
        if audience is None:
            raise WireError(f"audience: expected one of {', '.join(get_args(Audience))}")
        snapshot, now = self.room.now.snapshot, self.room.clock()
        instance = snapshot.instances.get(http.match_info["id"])
        if instance is None:
            raise web.HTTPNotFound(reason="no instance is called so: see headgate instance list")
        facts = snapshot.idle(instance)
        stop = snapshot.stops.matching(facts, at_unix_nano=now)
        if stop is not None or not instance.is_living(now):
            raise ForbiddenError(f"no token for {instance.instance_id}: it is stopped, paused, or over")
        launched = [found for one in facts.lineage[1:] if (found := snapshot.instances.get(one)) is not None]
        tokens = InstanceTokens(self.keys, clock=self.room.clock)
        text = await asyncio.to_thread(tokens.mint, instance, audience, launched=launched)
        return answered({"token": text, "audience": audience, "expires_s": LIFETIME_S}, status=201)
