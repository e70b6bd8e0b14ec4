"""Commands about budgets: set, list, remove."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

from aiohttp import web

from headgate_control.budgets.amount import MS_PER_S, NANO_USD, Amount, Limits, Unit, nano_usd, shown
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
        opening, is_new = parse_opening(body, budget), budget.budget_id not in self.room.now.budgets
        is_opened = is_new and opening is not None and opening[0] == budget.turn(self.room.clock())
        if is_opened and opening is not None:
            self.room.owner.seed([(budget.budget_id, *opening)])
        change = Change(kind=BUDGET, id=budget.budget_id, body=write_budget(budget))
        await self._changed(change, caller, "budget.set", reason_of(body))
        if is_opened and opening is not None:
            await self._changed(change, caller, "budget.open", _told_opening(*opening))
        now = self.room.clock()
        row = shown_account(budget, self.room.owner.account(budget, now), now)
        return answered({**row, "is_new": is_new, "is_opened": is_opened})

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


def parse_opening(body: Mapping[str, Any], budget: Budget) -> tuple[str, Amount] | None:
    """The window of a moment, and what it held before anybody was held to the budget, as whoever sets it knows.

    Raises:
        WireError: an amount is wrong.
    """
    told = body.get("opening")
    if told is None:
        return None
    if not isinstance(told, dict):
        raise WireError("opening: expected an object with at_unix_nano, usd, tokens, calls and duration_ms")
    amount = Amount(
        nano_usd=_nano_usd(text_of(told, "usd")) or 0,
        tokens=whole_of(told, "tokens") or 0,
        calls=whole_of(told, "calls") or 0,
        duration_ms=whole_of(told, "duration_ms") or 0,
    )
    return budget.turn(whole_of(told, "at_unix_nano") or 0), amount


def _told_opening(turn: str, amount: Amount) -> str:
    """The opening balance of a budget, for the journal."""
    parts = (shown(unit, amount.of(unit)) for unit in get_args(Unit))
    return f"opening balance{f' of {turn}' if turn else ''}, as the store tells it: {', '.join(parts)}"


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
