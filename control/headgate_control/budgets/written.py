"""The books as the log has them."""

from collections.abc import Mapping
from typing import Any

from headgate_control.budgets.amount import Amount
from headgate_control.budgets.ledger import Ledger, Reservation

VALUE_MAX = (1 << 63) - 1


def amount_body(amount: Amount) -> dict[str, int]:
    """An amount, unit by unit; of what no log can write, the most that it can, which no ceiling is above."""
    return {
        "nano_usd": min(VALUE_MAX, amount.nano_usd),
        "tokens": min(VALUE_MAX, amount.tokens),
        "calls": min(VALUE_MAX, amount.calls),
        "duration_ms": min(VALUE_MAX, amount.duration_ms),
    }


def reserved(held: Reservation, instead_of: str | None = None) -> dict[str, object]:
    """That a reservation stands, new or topped up, or in the place of another one."""
    return {
        "kind": "reserve",
        "reservation_id": held.reservation_id,
        "amount": amount_body(held.amount),
        "expires_unix_nano": held.expires_unix_nano,
        "turns": dict(held.turns),
        **({} if instead_of is None else {"instead_of": instead_of}),
    }


def settled(reservation_id: str, amount: Amount) -> dict[str, object]:
    """That a reservation is settled."""
    return {"kind": "settle", "reservation_id": reservation_id, "amount": amount_body(amount)}


def books(ledger: Ledger) -> dict[str, object]:
    """All that the books hold, so that nothing before it need be read."""
    accounts = [
        {"budget_id": budget_id, "turn": turn, "settled": amount_body(account.settled)}
        for (budget_id, turn), account in ledger.accounts()
    ]
    return {"kind": "books", "accounts": accounts, "open": [reserved(one) for one in ledger.open()]}


def replay(ledger: Ledger, body: Mapping[str, Any]) -> None:
    """Bring books to where a record of the log left them."""
    if body["kind"] == "books":
        for account in body["accounts"]:
            ledger.restore(account["budget_id"], account["turn"], Amount(**account["settled"]))
        for one in body["open"]:
            ledger.hold(_reservation(one))
    elif body["kind"] == "reserve":
        ledger.hold(_reservation(body), instead_of=body.get("instead_of"))
    elif ledger.held(body["reservation_id"]) is not None:
        ledger.settle(body["reservation_id"], Amount(**body["amount"]))


def _reservation(body: Mapping[str, Any]) -> Reservation:
    return Reservation(
        reservation_id=body["reservation_id"],
        amount=Amount(**body["amount"]),
        expires_unix_nano=body["expires_unix_nano"],
        turns=body["turns"],
    )
