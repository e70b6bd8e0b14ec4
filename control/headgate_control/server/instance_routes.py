"""Commands about agent instances: register, list, show, revoke."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, fields

from aiohttp import web

from headgate_control.decide.core import Snapshot
from headgate_control.identity.instance import Instance
from headgate_control.identity.launch import Launch, launch, revoke
from headgate_control.manifests.entries import granted, widenings
from headgate_control.manifests.load import parse_manifest
from headgate_control.room import Room
from headgate_control.server.answers import answered, object_of, reason_of, text_of, whole_of
from headgate_control.server.budget_routes import shown_account
from headgate_control.server.doors import Caller, only
from headgate_control.server.stop_routes import shown_stop
from headgate_control.server.wire import WireError


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRoutes:
    """`/v1/instances`: who there is."""

    room: Room

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes."""
        return [
            web.get("/v1/instances", self._list),
            web.post("/v1/instances", self._create),
            web.get("/v1/instances/{id}", self._show),
            web.post("/v1/instances/{id}/revoke", self._revoke),
        ]

    async def _list(self, http: web.Request) -> web.Response:
        self._operator(http)
        now, snapshot = self.room.clock(), self.room.now.snapshot
        found = sorted(snapshot.instances.values(), key=lambda one: one.instance_id, reverse=True)
        return answered({"instances": [_in_effect(snapshot, one, now) for one in found]})

    async def _create(self, http: web.Request) -> web.Response:
        caller, body = self._operator(http), await object_of(http)
        text = text_of(body, "manifest")
        if text is None:
            raise WireError("manifest: expected the text of a manifest")
        grant = parse_manifest(text, self.room.profiles(), source=text_of(body, "source") or "the manifest")
        asked = Launch(
            grant=grant,
            launched_by=text_of(body, "launched_by") or caller.name,
            author=caller.name,
            reason=reason_of(body),
            user=text_of(body, "user"),
            parent=text_of(body, "parent"),
            restart_of=text_of(body, "restart_of"),
            environment=text_of(body, "environment"),
            lifetime_ns=whole_of(body, "lifetime_ns"),
        )
        made = await asyncio.to_thread(launch, self.room.store, self.room.now.snapshot, asked, clock=self.room.clock)
        await self.room.refresh()
        token = await asyncio.to_thread(self.room.telemetry_token, made.instance)
        told = shown_instance(made.instance, self.room.clock())
        wide = await asyncio.to_thread(lambda: list(widenings(grant)))
        shown_once = {"gateway_key": made.gateway_key, "telemetry_token": token}
        return answered({**told, **shown_once, "without_effect": wide}, status=201)

    async def _show(self, http: web.Request) -> web.Response:
        """The record, what it may do, what it has spent of which budget, and what stops it."""
        caller = self.room.doors.caller(http.headers.get("authorization"))
        instance = self._known(http.match_info["id"])
        if caller.role == "agent" and caller.instance_id != instance.instance_id:
            only(caller, "operator")
        snapshot, now = self.room.now.snapshot, self.room.clock()
        grant = snapshot.grants.get(instance.manifest_digest)
        facts = snapshot.idle(instance)
        places = {*facts.places(), *(("user", one) for one in facts.identities)}
        entries = [] if grant is None else await asyncio.to_thread(lambda: list(granted(grant)))
        budgets = [
            shown_account(budget, self.room.owner.account(budget, now), now)
            for budget in self.room.now.budgets.values()
            if budget.place in places or budget.place[0] == "platform"
        ]
        stopped = snapshot.stops.matching(facts, at_unix_nano=now)
        return answered(
            {
                **_in_effect(snapshot, instance, now),
                "lineage": list(facts.lineage),
                "granted": [_entry(*one) for one in entries],
                "budgets": budgets,
                "stopped_by": None if stopped is None else shown_stop(stopped),
            }
        )

    async def _revoke(self, http: web.Request) -> web.Response:
        caller, body = self._operator(http), await object_of(http)
        instance = self._known(http.match_info["id"])
        ended = await asyncio.to_thread(
            revoke,
            self.room.store,
            instance.instance_id,
            list(self.room.now.keys.values()),
            author=caller.name,
            reason=reason_of(body),
        )
        await asyncio.to_thread(self.room.end_tokens, instance.instance_id)
        await self.room.refresh()
        return answered(shown_instance(ended, self.room.clock()))

    def _known(self, text: str) -> Instance:
        """The instance of an id, or of the beginning of one.

        Raises:
            web.HTTPNotFound: there is none, or there are several.
        """
        every = self.room.now.snapshot.instances
        found = [every[text]] if text in every else [one for name, one in every.items() if name.startswith(text)]
        if len(found) != 1:
            why = "no instance is called so" if not found else f"{len(found)} instances begin so"
            raise web.HTTPNotFound(reason=f"{why}: see headgate instance list")
        return found[0]

    def _operator(self, http: web.Request) -> Caller:
        return only(self.room.doors.caller(http.headers.get("authorization")), "operator")


def _in_effect(snapshot: Snapshot, instance: Instance, at_unix_nano: int) -> dict[str, object]:
    """As `shown_instance`, with a stop or a pause that holds as its state."""
    row = shown_instance(instance, at_unix_nano)
    stop = snapshot.stops.matching(snapshot.idle(instance), at_unix_nano=at_unix_nano)
    if stop is not None and instance.is_living(at_unix_nano):
        row["state"] = "stopped" if stop.mode == "stop" else "paused"
    return row


def shown_instance(instance: Instance, at_unix_nano: int) -> dict[str, object]:
    """An instance as commands show it, what is not known as None; one whose time is over is `expired`."""
    over = not instance.is_living(at_unix_nano) and instance.state in {"created", "running"}
    unknown = {field.name: None for field in fields(instance)}
    return {**unknown, **instance.written(), "state": "expired" if over else instance.state}


def _entry(section: str, entry: str, level: str) -> dict[str, str]:
    return {"section": section, "entry": entry, "level": level}
