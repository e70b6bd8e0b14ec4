"""Budgets for gateways in other processes: reserve, top up, settle, with the one owner of the books."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from headgate_control.budgets.budget import Place
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.feed.budget_wire import (
    answer_body,
    parse_amount,
    parse_id,
    parse_instead_of,
    parse_lifetime_ns,
    parse_places,
)
from headgate_control.server.answers import answered, object_of
from headgate_control.server.doors import Doors, only
from headgate_control.server.wire import WireError

SETTLEMENTS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteBudgetRoutes:
    """`/v1/budgets/reserve`, `top_up` and `settle`, for gateways. Times are control's own.

    `heard` is told of whose budgets is reserved.
    """

    owner: BudgetOwner
    doors: Doors
    clock: Callable[[], int]
    heard: Callable[[Iterable[Place]], None] = lambda _places: None

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes."""
        return [
            web.post("/v1/budgets/reserve", self._reserve),
            web.post("/v1/budgets/top_up", self._top_up),
            web.post("/v1/budgets/settle", self._settle),
        ]

    async def _reserve(self, http: web.Request) -> web.Response:
        """The same id again is the same reservation, so that one who heard no answer may ask again."""
        body, now = await self._told(http), self.clock()
        places = parse_places(body.get("places"))
        self.heard(places)
        answer = self.owner.reserve(
            parse_id(body),
            places,
            parse_amount(body.get("amount")),
            at_unix_nano=now,
            expires_unix_nano=now + parse_lifetime_ns(body),
            instead_of=parse_instead_of(body),
        )
        return answered(answer_body(answer))

    async def _top_up(self, http: web.Request) -> web.Response:
        """404 when there is no such reservation, or it is settled or expired."""
        body = await self._told(http)
        expires_unix_nano = self.clock() + parse_lifetime_ns(body)
        try:
            answer = self.owner.top_up(
                parse_id(body), parse_amount(body.get("amount")), expires_unix_nano=expires_unix_nano
            )
        except KeyError as error:
            raise web.HTTPNotFound(reason="no such reservation: it is settled or expired") from error
        return answered(answer_body(answer))

    async def _settle(self, http: web.Request) -> web.Response:
        """Several at once. `gone` are those that stand no more: settled before, or spent in full when they expired."""
        body = await self._told(http)
        listed = body.get("settlements")
        if not isinstance(listed, list) or len(listed) > SETTLEMENTS_MAX:
            raise WireError(f"settlements: expected a list, {SETTLEMENTS_MAX} at most")
        asked = [(parse_id(one), parse_amount(one.get("amount"))) for one in map(_object, listed)]
        gone: list[str] = []
        for reservation_id, amount in asked:
            try:
                self.owner.settle(reservation_id, amount)
            except KeyError:
                gone.append(reservation_id)
        return answered({"settled": len(asked) - len(gone), "gone": gone})

    async def _told(self, http: web.Request) -> Mapping[str, Any]:
        only(self.doors.caller(http.headers.get("authorization")), "gateway", "operator")
        return await object_of(http)


def _object(found: object) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise WireError("settlements: expected objects")
    return found
