"""Reservations as they go over the wire, both ways: parsed and bounded where they arrive."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from headgate_control.budgets.amount import Amount, Unit
from headgate_control.budgets.budget import Place, Scope
from headgate_control.budgets.ledger import Answer, Excess, Reservation
from headgate_control.budgets.written import amount_body
from headgate_control.kinds import read_budget, write_budget
from headgate_control.server.wire import WireError

PLACES_MAX = 32
TEXT_CHARS_MAX = 512
AMOUNT_MAX = (1 << 63) - 1
LIFETIME_NS_MAX = 24 * 60 * 60 * 1_000_000_000
_PARTS = ("nano_usd", "tokens", "calls", "duration_ms")


def parse_amount(body: object) -> Amount:
    """An amount; a part that is left out is nothing.

    Raises:
        WireError: a part is no whole number, or too large.
    """
    if not isinstance(body, Mapping):
        raise WireError("amount: expected an object")
    parts = {name: body.get(name, 0) for name in _PARTS}
    if not all(type(value) is int and 0 <= value <= AMOUNT_MAX for value in parts.values()):
        raise WireError(f"amount: expected whole numbers of at least 0 in {', '.join(_PARTS)}")
    return Amount(**parts)


def parse_places(body: object) -> Sequence[Place]:
    """Whose budgets are spent.

    Raises:
        WireError: one is no scope and target, or there are too many.
    """
    if not isinstance(body, list) or len(body) > PLACES_MAX:
        raise WireError(f"places: expected a list of scope and target, {PLACES_MAX} at most")
    return [_place(one) for one in body]


def parse_id(body: Mapping[str, Any]) -> str:
    """The id of a reservation.

    Raises:
        WireError: there is none.
    """
    return _text(body.get("reservation_id"), "reservation_id")


def parse_instead_of(body: Mapping[str, Any]) -> str | None:
    """The id of the reservation whose place a new one takes, if there is one.

    Raises:
        WireError: it is no id.
    """
    return None if body.get("instead_of") is None else _text(body["instead_of"], "instead_of")


def parse_lifetime_ns(body: Mapping[str, Any]) -> int:
    """How long a reservation is to stand: by control's clock, for others may be wrong.

    Raises:
        WireError: it is no time, or too long.
    """
    value = body.get("lifetime_ns")
    if type(value) is not int or not 0 < value <= LIFETIME_NS_MAX:
        raise WireError("lifetime_ns: expected nanoseconds, a day at most")
    return value


def answer_body(answer: Answer) -> dict[str, object]:
    """What became of a reservation."""
    held = answer.reservation
    return {
        "reservation": None
        if held is None
        else {
            "reservation_id": held.reservation_id,
            "amount": amount_body(held.amount),
            "expires_unix_nano": held.expires_unix_nano,
            "turns": dict(held.turns),
        },
        "refused": None if answer.refused is None else _excess_body(answer.refused),
        "warnings": [_excess_body(one) for one in answer.warnings],
    }


def answer_from(body: Mapping[str, Any]) -> Answer:
    """The answer that control gave.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    held, refused = body["reservation"], body["refused"]
    reservation = None
    if held is not None:
        reservation = Reservation(
            reservation_id=held["reservation_id"],
            amount=Amount(**held["amount"]),
            expires_unix_nano=held["expires_unix_nano"],
            turns=held["turns"],
        )
    return Answer(
        reservation=reservation,
        refused=None if refused is None else _excess(refused),
        warnings=tuple(_excess(one) for one in body.get("warnings", ())),
    )


def _excess_body(excess: Excess) -> dict[str, object]:
    return {
        "budget": write_budget(excess.budget),
        "unit": excess.unit,
        "used": excess.used,
        "wanted": excess.wanted,
        "limit": excess.limit,
    }


def _excess(body: Mapping[str, Any]) -> Excess:
    unit: Unit | None = next((one for one in get_args(Unit) if one == body["unit"]), None)
    if unit is None:
        raise ValueError(f"no unit {body['unit']!r}")
    return Excess(
        budget=read_budget(body["budget"]), unit=unit, used=body["used"], wanted=body["wanted"], limit=body["limit"]
    )


def _place(body: object) -> Place:
    scope, target = body if isinstance(body, list) and len(body) == 2 else (None, None)
    known: Scope | None = next((one for one in get_args(Scope) if one == scope), None)
    if known is None or not isinstance(target, str) or len(target) > TEXT_CHARS_MAX:
        raise WireError(f"places: expected a scope of {', '.join(get_args(Scope))}, and whose")
    return known, target


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value or len(value) > TEXT_CHARS_MAX:
        raise WireError(f"{name}: expected text of 1 to {TEXT_CHARS_MAX} characters")
    return value
