"""The feed over HTTP: who may read it, in which version, and how a point acknowledges and leaves."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from headgate_control.feed import messages
from headgate_control.feed.feed import Feed
from headgate_control.feed.subscriber import notice_silence, write_all
from headgate_control.server.answers import answered, object_of, text_of, whole_of
from headgate_control.server.doors import Caller, Doors, only
from headgate_control.server.wire import WireError
from headgate_control.stops.points import EPOCHS_MAX

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HEADERS = {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRoutes:
    """`/v1/feed`, for gateways and operators; an agent hears nothing of it."""

    feed: Feed
    doors: Doors

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes."""
        return [
            web.get("/v1/feed", self._read, allow_head=False),
            web.post("/v1/feed/ack", self._acknowledge),
            web.post("/v1/feed/leave", self._leave),
        ]

    async def _read(self, http: web.Request) -> web.StreamResponse:
        """Server-sent events until the reader goes."""
        caller, query = self._caller(http), http.query
        refused = refused_version(_whole(query, "version"))
        if refused is not None:
            said = {"error": refused, "version": messages.VERSION, "version_oldest": messages.VERSION_OLDEST}
            return answered(said, status=409)
        name, since = _point(query.get("point")), _whole(query, "since")
        await self.feed.remember(name, caller.name)
        subscriber = self.feed.join(name, query.get("process", "")[:64], caller.name)
        # In one step with joining: what happens from here on waits for it, and what was before is in the opening.
        opening = self.feed.opening(since, query.get("run"))
        answer = web.StreamResponse(headers=_HEADERS)
        try:
            notice_silence(http)
            await answer.prepare(http)
            every_s = self.feed.config.beat_every_s
            await write_all(http, answer, subscriber.pieces(opening, self.feed.beat, every_s))
        finally:
            self.feed.gone(subscriber)
        return answer

    async def _acknowledge(self, http: web.Request) -> web.Response:
        """Of `epoch`, and of the ones before it that `earlier` lists, with how many calls each has cut."""
        caller, body = self._caller(http), await object_of(http)
        name, told = _point(text_of(body, "point")), [body, *_earlier(body)]
        if body.get("upstream_closed") is not True:
            raise WireError("upstream_closed: a stop takes effect when the upstreams of what it cut are closed: true")
        self.feed.acknowledge(name, caller.name, dict(map(_cut, told)))
        return answered({"point": name, "epoch": body["epoch"]})

    async def _leave(self, http: web.Request) -> web.Response:
        caller, body = self._caller(http), await object_of(http)
        name = _point(text_of(body, "point"))
        await self.feed.leave(name, caller.name, is_operator=caller.role == "operator")
        return answered({"point": name})

    def _caller(self, http: web.Request) -> Caller:
        return only(self.doors.caller(http.headers.get("authorization")), "gateway", "operator")


def refused_version(version: int | None) -> str | None:
    """Why a reader's version is not spoken; None where it is."""
    if version is None:
        return None
    if version > messages.VERSION:
        return (
            f"version {version} of the feed is newer than control speaks ({messages.VERSION}): "
            "bring control up to date, or use a gateway of its version"
        )
    if version < messages.VERSION_OLDEST:
        return (
            f"version {version} of the feed is older than control speaks ({messages.VERSION_OLDEST} and newer): "
            "bring the gateway up to date"
        )
    return None


def _point(name: str | None) -> str:
    if name is None or not _NAME.fullmatch(name):
        raise WireError("point: expected the gateway's name: letters, digits, dots and dashes, 64 at most")
    return name


def _whole(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise WireError(f"{name}: expected a whole number")
    return int(text)


def _earlier(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = body.get("earlier", [])
    if not isinstance(found, list) or len(found) > EPOCHS_MAX or not all(isinstance(one, Mapping) for one in found):
        raise WireError(f"earlier: expected a list of epochs, {EPOCHS_MAX} at most")
    return found


def _cut(body: Mapping[str, Any]) -> tuple[int, int]:
    epoch, cut = whole_of(body, "epoch"), whole_of(body, "cut")
    if epoch is None or cut is None:
        raise WireError("epoch, cut: expected the epoch and how many calls were cut for it")
    return epoch, cut
