"""What is asked of the books before anything is reserved: what a request may cost, as far as that is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from headgate_control.budgets.amount import Amount, Unit, nano_usd

COST_EST, TOKENS_EST = "cost_est", "tokens_est"
COST_USD_MAX = Decimal(1_000_000_000)
TOKENS_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Whether `amount` fits; of the `unknown` units, whether anything is left.

    `spends` says that it would be reserved for, so that what open calls have reserved is gone; for what spends nothing
    itself, only what is settled is.
    """

    amount: Amount
    unknown: frozenset[Unit] = frozenset()
    spends: bool = True


def estimate_of(context: Mapping[str, object]) -> Amount:
    """What a request says that it may cost: `cost_est` in dollars, and `tokens_est`.

    Raises:
        ValueError: one of them is no such number; names it.
    """
    return Amount(nano_usd=nano_usd(_usd(context.get(COST_EST))), tokens=_tokens(context.get(TOKENS_EST)))


def question_of(action: str, context: Mapping[str, object], *, is_read: bool) -> Question:
    """What is asked of the books for a request that no gateway has estimated: the call of a model is one call at least.

    Tools are called by no budget of calls, and what only reads is let through when money is spent.

    Raises:
        ValueError: an estimate in the context is no number.
    """
    said, is_call = estimate_of(context), action == "model.call"
    told: dict[Unit, str] = {"usd": COST_EST, "tokens": TOKENS_EST}
    open_units: tuple[Unit, ...] = () if is_read else ("usd", "tokens", "seconds")
    return Question(
        amount=said + Amount(calls=1) if is_call else said,
        unknown=frozenset(unit for unit in open_units if context.get(told.get(unit, "")) is None),
        spends=is_call,
    )


def _usd(value: object) -> Decimal:
    problem = f"context.{COST_EST}: expected dollars, from 0 to {COST_USD_MAX:f}"
    if value is None:
        return Decimal(0)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(problem)
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(problem) from None
    if not found.is_finite() or not 0 <= found <= COST_USD_MAX:
        raise ValueError(problem)
    return found


def _tokens(value: object) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= TOKENS_MAX:
        raise ValueError(f"context.{TOKENS_EST}: expected a whole number of tokens of at least 0")
    return value
