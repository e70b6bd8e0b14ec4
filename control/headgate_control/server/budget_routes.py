"""Commands about budgets: set, list, remove."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

from aiohttp import web

from headgate_control.budgets.amount import MS_PER_S, NANO_USD, Amount, Limits, nano_usd
from headgate_control.budgets.budget import Budget, Mode, Place, Scope, Window
from headgate_control.budgets.ledger import Account
from headgate_control.kinds import BUDGET, write_budget
from headgate_control.room import Room
from headgate_control.server.answers import answered, object_of, reason_of, text_of, whole_of
from headgate_control.server.doors import Caller, only
from headgate_control.server.wire import WireError
from headgate_control.store.record import Change

TARGET_CHARS_MAX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRoutes:
    """`/v1/budgets`: ceilings and what is spent of them."""

    room: Room

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes."""
        return [
            web.get("/v1/budgets", self._list),
            web.put("/v1/budgets", self._set),
            web.post("/v1/budgets/remove", self._remove),
        ]

    async def _list(self, http: web.Request) -> web.Response:
        self._operator(http)
        now = self.room.clock()
        found = sorted(self.room.now.budgets.values(), key=lambda one: (one.place, one.window, one.budget_id))
        return answered({"budgets": [shown_account(one, self.room.owner.account(one, now), now) for one in found]})

    async def _set(self, http: web.Request) -> web.Response:
        caller, body = self._operator(http), await object_of(http)
        budget = parse_budget(body)
        change = Change(kind=BUDGET, id=budget.budget_id, body=write_budget(budget))
        await self._changed(change, caller, "budget.set", reason_of(body))
        now = self.room.clock()
        return answered(shown_account(budget, self.room.owner.account(budget, now), now))

    async def _remove(self, http: web.Request) -> web.Response:
        caller, body = self._operator(http), await object_of(http)
        budget_id = text_of(body, "budget_id") or ""
        if budget_id not in self.room.now.budgets:
            raise web.HTTPNotFound(reason=f"no budget {budget_id!r}: see headgate budget show")
        await self._changed(Change(kind=BUDGET, id=budget_id, body=None), caller, "budget.remove", reason_of(body))
        return answered({"budget_id": budget_id})

    async def _changed(self, change: Change, caller: Caller, action: str, reason: str) -> None:
        told = {"author": caller.name, "action": action, "reason": reason}
        await asyncio.to_thread(self.room.store.change, [change], **told)
        await self.room.refresh()

    def _operator(self, http: web.Request) -> Caller:
        return only(self.room.doors.caller(http.headers.get("authorization")), "operator")


def parse_budget(body: Mapping[str, Any]) -> Budget:
    """A budget as commands write it; the same place, window and mode is the same budget.

    Raises:
        WireError: a part is missing or wrong.
    """
    place = parse_place(body)
    window: Window = _one_of(body, "window", get_args(Window))
    mode: Mode = _one_of(body, "mode", get_args(Mode))
    limits = Limits(
        nano_usd=_nano_usd(text_of(body, "usd")),
        tokens=whole_of(body, "tokens"),
        calls=whole_of(body, "calls"),
        duration_ms=None if (seconds := whole_of(body, "seconds")) is None else seconds * MS_PER_S,
    )
    if not list(limits.items()):
        raise WireError("a budget without an amount: give usd, tokens, calls or seconds")
    budget_id = f"set/{place[0]}:{place[1]}:{window}:{mode}"
    return Budget(budget_id=budget_id, place=place, window=window, limits=limits, mode=mode)


def parse_place(body: Mapping[str, Any]) -> Place:
    """The scope and id of a command.

    Raises:
        WireError: no such scope, an id is missing, or there is one where none belongs.
    """
    scope: Scope = _one_of(body, "scope", get_args(Scope))
    target = text_of(body, "id") or ""
    if (scope == "platform") != (target == "") or len(target) > TARGET_CHARS_MAX:
        raise WireError(f"id: expected one for every scope but platform, of {TARGET_CHARS_MAX} characters at most")
    return scope, target


def shown_account(budget: Budget, account: Account, at_unix_nano: int) -> dict[str, object]:
    """A budget with what its window holds now; dollars as decimal text, what is not limited is None."""
    scope, target = budget.place
    return {
        "budget_id": budget.budget_id,
        "scope": scope,
        "target": target,
        "window": budget.window,
        "turn": budget.turn(at_unix_nano),
        "mode": budget.mode,
        "limit_usd": None if budget.limits.nano_usd is None else _usd(budget.limits.nano_usd),
        "limit_tokens": budget.limits.tokens,
        "limit_calls": budget.limits.calls,
        "limit_seconds": None if budget.limits.duration_ms is None else budget.limits.duration_ms / MS_PER_S,
        **_amount("settled", account.settled),
        **_amount("reserved", account.reserved),
    }


def _amount(name: str, amount: Amount) -> dict[str, object]:
    return {
        f"{name}_usd": _usd(amount.nano_usd),
        f"{name}_tokens": amount.tokens,
        f"{name}_calls": amount.calls,
        f"{name}_seconds": amount.duration_ms / MS_PER_S,
    }


def _usd(nano: int) -> str:
    return f"{Decimal(nano) / NANO_USD:.9f}"


def _nano_usd(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        usd = Decimal(text)
    except InvalidOperation:
        usd = Decimal(-1)
    if not usd.is_finite() or usd < 0 or usd > Decimal(10**9):
        raise WireError(f"usd: expected dollars such as 2.50, got {text!r}")
    return nano_usd(usd)


def _one_of(body: Mapping[str, Any], name: str, words: tuple[Any, ...]) -> Any:
    found = body.get(name)
    if found not in words:
        raise WireError(f"{name}: expected one of {', '.join(words)}")
    return found
