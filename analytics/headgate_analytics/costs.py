"""What a model call cost: a site's price before what the agent reported, that before the list price."""

from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal

from headgate_analytics.rows import Row
from headgate_processors.enrich.price import PriceBook

SUM_MAX = Decimal(10**9)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_NS = 86_400_000_000_000
_NOT_WHOLE = frozenset(
    {"no_usage", "no_input_tokens", "no_output_tokens", "no_reasoning_tokens", "no_price_for_cache_write"}
)
_UNPRICED: Row = {"cost_usd": None, "cost_basis": None, "price_version": None}


def total_usd(costs: Iterable[Decimal | None]) -> Decimal | None:
    """The sum of what is known; NULL when nothing is, and when it does not fit a column of money."""
    known = [cost for cost in costs if cost is not None]
    total = sum(known, Decimal(0))
    return total if known and total < SUM_MAX else None


def pricing(book: PriceBook) -> Callable[[Row, object, bool], Row]:
    """The cost columns of a `model_calls` row: from the row, the reported cost, whether its source tells the cache.

    A source that does not tell cached from fresh input is priced as if all were fresh: an upper bound.
    """

    def price(row: Row, reported_usd: object, cache_told: bool) -> Row:
        if row["usage_source"] is None and reported_usd is None:
            return _UNPRICED | {"cost_missing_reason": "no_usage"}
        listed = _listed(book, row, cache_told)
        if listed["cost_basis"] != "override" and isinstance(reported_usd, Decimal):
            return {
                "cost_usd": reported_usd,
                "cost_basis": "reported",
                "price_version": None,
                "cost_missing_reason": None,
            }
        return listed

    return price


def as_booked(row: Row, booked_usd: Decimal | None, *, is_killed: bool = False) -> Row:
    """The cost of a call whose tokens nobody knows whole: what a gateway charged budgets for it, which is no less.

    Of one whose gateway was killed, all that was reserved is charged, whatever of it was seen.
    """
    if booked_usd is None or not (is_killed or row["cost_missing_reason"] in _NOT_WHOLE):
        return {}
    return {"cost_usd": booked_usd, "cost_basis": "upper_bound", "cost_missing_reason": None, "price_version": None}


def with_tries(row: Row, tried_usd: Decimal | None) -> Row:
    """The cost of a call with what its attempts before the last one were charged."""
    cost = row["cost_usd"]
    if not tried_usd or not isinstance(cost, Decimal):
        return {}
    return {"cost_usd": cost + tried_usd, "cost_basis": "upper_bound"}


def _listed(book: PriceBook, row: Row, cache_told: bool) -> Row:
    model = _text(row["model"])
    if model is None:
        return _UNPRICED | {"cost_missing_reason": "unknown_model"}
    day = date.fromordinal(_EPOCH_DAY + _int(row["start_time_unix_nano"]) // _DAY_NS)
    quote = book.quote(
        _text(row["provider"]), model, day, requested_model=_text(row["request_model"]), tier=_text(row["service_tier"])
    )
    split = row["uncached_input_tokens"] is not None
    cost = book.cost(
        quote,
        uncached_input_tokens=_known(row["uncached_input_tokens"] if split else row["input_tokens"]),
        output_tokens=0 if row["operation"] == "embeddings" else _known(row["output_tokens"]),
        cache_read_tokens=_known(row["cache_read_tokens"]),
        cache_write_tokens=_known(row["cache_write_tokens"]),
        cache_write_1h_tokens=_known(row["cache_write_1h_tokens"]),
        reasoning_tokens=_known(row["reasoning_tokens"]),
    )
    bound = (
        cost.cost_usd is not None
        and not split
        and not cache_told
        and row["operation"] != "embeddings"
        and cost.basis == "list"
    )
    return {
        "cost_usd": cost.cost_usd,
        "cost_basis": "upper_bound" if bound else cost.basis,
        "price_version": cost.price_version,
        "cost_missing_reason": cost.missing_reason,
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _known(value: object) -> int | None:
    return value if isinstance(value, int) else None
