"""What model calls cost: list prices of `genai-prices` by day, and a site's own over them.

A price is looked up once per distinct provider, model, day and service tier and then multiplied, in
`Decimal`. What has no known price has no cost, and a reason instead. Only tokens and, where a list says
so, requests are priced; searches and other tools of a provider are not.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pyarrow as pa
from genai_prices.data_snapshot import DataSnapshot, get_snapshot

from headgate_processors.documents import read_document
from headgate_processors.enrich._price_list import (
    Period,
    Rates,
    around,
    entry_period,
    find_entry,
    listed_on,
    standard_tier,
)
from headgate_processors.enrich._price_overrides import Override, OverrideFile, TokenPrices

__all__ = ["PRICE_SCHEMA", "Basis", "Cost", "PriceBook", "Quote", "Rates"]

CACHED_QUOTES_MAX = 16384
PERIODS_MAX = 1000
MILLION = Decimal(1_000_000)
NANO_USD = Decimal("0.000000001")

Basis = Literal["list", "override", "upper_bound"]

_MONEY = pa.decimal128(18, 9)
PRICE_SCHEMA = pa.schema(
    [
        pa.field("provider", pa.string()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("tier", pa.string()),
        pa.field("valid_from", pa.date32()),
        pa.field("valid_to", pa.date32()),
        pa.field("over_input_tokens", pa.int64(), nullable=False),
        pa.field("input_usd_per_mtok", _MONEY),
        pa.field("output_usd_per_mtok", _MONEY),
        pa.field("cache_read_usd_per_mtok", _MONEY),
        pa.field("cache_write_usd_per_mtok", _MONEY),
        pa.field("cache_write_1h_usd_per_mtok", _MONEY),
        pa.field("reasoning_usd_per_mtok", _MONEY),
        pa.field("request_usd", _MONEY),
        pa.field("basis", pa.string(), nullable=False),
        pa.field("price_version", pa.string(), nullable=False),
        pa.field("missing_reason", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The price of one model on one day; with a `missing_reason` there is none.

    `rates` rise by `over_input_tokens`, `period` are the days on which they hold, `request_usd` is what one
    request costs besides its tokens.
    """

    provider: str | None
    model: str
    tier: str | None
    period: Period
    price_version: str
    rates: tuple[Rates, ...] = ()
    request_usd: Decimal | None = None
    basis: Basis = "list"
    missing_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a call cost in USD, to a billionth; None with the reason when that is not known."""

    cost_usd: Decimal | None
    basis: Basis | None
    missing_reason: str | None
    price_version: str | None


class PriceBook:
    """Quotes prices; keeps a bounded cache, and may be shared between threads."""

    def __init__(self, snapshot: DataSnapshot, overrides: Sequence[Override], price_version: str) -> None:
        self._snapshot = snapshot
        self._overrides = overrides
        self._quotes: OrderedDict[tuple[str | None, str, date, str | None], Quote] = OrderedDict()
        self.price_version = price_version

    @classmethod
    def load(cls, overrides: Path | None = None) -> "PriceBook":
        """The list that ships with `genai-prices`, never fetched, and a site's override file.

        Raises:
            ConfigError: the override file is missing or wrong.
        """
        listed = f"genai-prices {version('genai-prices')}"
        if overrides is None:
            return cls(get_snapshot(), (), listed)
        file = read_document(overrides, OverrideFile)
        digest = blake2b(file.model_dump_json().encode(), digest_size=4).hexdigest()
        return cls(get_snapshot(), file.prices, f"{listed}, overrides {file.version} ({digest})")

    def quote(
        self,
        provider: str | None,
        model: str,
        day: date,
        *,
        tier: str | None = None,
        requested_model: str | None = None,
    ) -> Quote:
        """The price of `model` of `provider` (its name in the semantic conventions) on a day in UTC.

        `tier` is the service tier that the provider answered with. Where no price names `model`, that of
        `requested_model` counts: a snapshot is billed as the model that was asked for. Without a provider, the
        model says whose it is.
        """
        quote = self._cached(provider, model, day, tier)
        if quote.missing_reason is None or not requested_model or requested_model == model:
            return quote
        requested = self._cached(provider, requested_model, day, tier)
        return quote if requested.missing_reason is not None else requested

    def cost(
        self,
        quote: Quote | None,
        *,
        uncached_input_tokens: int | None,
        output_tokens: int | None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        cache_write_1h_tokens: int | None = None,
        reasoning_tokens: int | None = None,
    ) -> Cost:
        """What a call cost. `cache_write_1h_tokens` are part of `cache_write_tokens`, reasoning is part of output.

        A cache figure that is None was not reported and counts as none.
        """
        if quote is None:
            return Cost(cost_usd=None, basis=None, missing_reason="unknown_model", price_version=None)
        if quote.missing_reason is not None:
            return _unpriced(quote, quote.missing_reason)
        kept = cache_write_1h_tokens or 0
        counts = {
            "input": uncached_input_tokens,
            "cache_read": cache_read_tokens or 0,
            "cache_write": max(0, (cache_write_tokens or 0) - kept),
            "cache_write_1h": kept,
            "output": output_tokens,
        }
        rates = _rates_for(quote, sum(count or 0 for kind, count in counts.items() if kind != "output"))
        if rates.reasoning is not None and output_tokens:
            if reasoning_tokens is None:
                return _unpriced(quote, "no_reasoning_tokens")
            counts |= {"reasoning": reasoning_tokens, "output": max(0, output_tokens - reasoning_tokens)}
        return _priced(quote, rates, counts)

    def context_tokens(self, provider: str | None, model: str) -> int | None:
        """How many tokens a model reads at most, as the list has it; None where it does not say."""
        found = find_entry(self._snapshot, provider, model)
        return None if isinstance(found, str) else found[1].context_window

    def table(self, models: Iterable[tuple[str | None, str]], *, tier: str | None = None) -> pa.Table:
        """All prices of some (provider, model), one row per period and context tier, to join in SQL.

        Join on provider (which may be NULL), model, `valid_from <= day < valid_to` (NULL is open), and of the rows
        with `over_input_tokens` below the input tokens the highest, else 0. The schema is `PRICE_SCHEMA`.
        """
        rows = [
            _row(quote, rates)
            for provider, model in dict.fromkeys(models)
            for quote in self._history(provider, model, tier)
            for rates in quote.rates or (Rates(),)
        ]
        return pa.Table.from_pylist(rows, schema=PRICE_SCHEMA)

    def _history(self, provider: str | None, model: str, tier: str | None) -> list[Quote]:
        """The quotes of a model, from the first day to the last."""
        quotes = [self._cached(provider, model, date.min, tier)]
        while (after := quotes[-1].period.after) is not None and len(quotes) < PERIODS_MAX:
            quotes.append(self._cached(provider, model, after, tier))
        return quotes

    def _cached(self, provider: str | None, model: str, day: date, tier: str | None) -> Quote:
        key = (provider, model, day, tier)
        quote = self._quotes.get(key)
        if quote is None:
            quote = self._quoted(provider, model, day, standard_tier(tier))
            if len(self._quotes) >= CACHED_QUOTES_MAX:
                self._quotes.popitem(last=False)
            self._quotes[key] = quote
        return quote

    def _quoted(self, provider: str | None, model: str, day: date, tier: str | None) -> Quote:
        named = [entry for entry in self._overrides if entry.names(provider, model)]
        edges = {edge for entry in named for edge in (entry.from_, entry.until) if edge is not None}
        quote = Quote(
            provider=provider, model=model, tier=tier, period=around(edges, day), price_version=self.price_version
        )
        override = next((entry for entry in named if entry.holds(day, tier)), None)
        return _overridden(quote, override) if override is not None else self._listed(quote, day)

    def _listed(self, quote: Quote, day: date) -> Quote:
        found = find_entry(self._snapshot, quote.provider, quote.model)
        if isinstance(found, str):
            return replace(quote, missing_reason=found)
        owner, entry = found
        quote = replace(quote, period=quote.period.within(entry_period(entry, day)))
        listed = listed_on(owner, entry, day, quote.tier)
        if isinstance(listed, str):
            return replace(quote, missing_reason=listed)
        basis: Basis = "upper_bound" if listed.varies else "list"
        return replace(quote, rates=listed.rates, request_usd=listed.request_usd, basis=basis)


def _overridden(quote: Quote, entry: Override) -> Quote:
    longer = (_override_rates(tier, tier.over_input_tokens) for tier in entry.context_tiers)
    return replace(quote, rates=(_override_rates(entry, 0), *longer), request_usd=entry.request, basis="override")


def _override_rates(prices: TokenPrices, over_input_tokens: int) -> Rates:
    return Rates(
        over_input_tokens=over_input_tokens,
        input=prices.input,
        output=prices.output,
        cache_read=prices.cache_read,
        cache_write=prices.cache_write,
        cache_write_1h=prices.cache_write_1h,
        reasoning=prices.reasoning,
    )


def _rates_for(quote: Quote, input_tokens: int) -> Rates:
    """The rates of a call by the length of its whole input; crossing a tier changes the price of every token."""
    return next(rates for rates in reversed(quote.rates) if rates.over_input_tokens < max(input_tokens, 1))


def _priced(quote: Quote, rates: Rates, counts: Mapping[str, int | None]) -> Cost:
    if counts["input"] is None and counts["output"] is None:
        return _unpriced(quote, "no_usage")
    total, basis = quote.request_usd or Decimal(0), quote.basis
    for kind, count in counts.items():
        rate: Decimal | None = getattr(rates, kind)
        if count is None and rate is not None:
            return _unpriced(quote, f"no_{kind}_tokens")
        if count and rate is None and kind == "cache_read" and rates.input is not None:
            # A list without a price for cache reads gives no discount for them; they never cost more than input.
            rate, basis = rates.input, "upper_bound"
        if count and rate is None:
            return _unpriced(quote, f"no_price_for_{kind}")
        total += (rate or Decimal(0)) * (count or 0) / MILLION
    return Cost(cost_usd=total.quantize(NANO_USD), basis=basis, missing_reason=None, price_version=quote.price_version)


def _unpriced(quote: Quote, reason: str) -> Cost:
    return Cost(cost_usd=None, basis=None, missing_reason=reason, price_version=quote.price_version)


def _row(quote: Quote, rates: Rates) -> dict[str, object]:
    return {
        "provider": quote.provider,
        "model": quote.model,
        "tier": quote.tier,
        "valid_from": quote.period.first,
        "valid_to": quote.period.after,
        "over_input_tokens": rates.over_input_tokens,
        "input_usd_per_mtok": rates.input,
        "output_usd_per_mtok": rates.output,
        "cache_read_usd_per_mtok": rates.cache_read,
        "cache_write_usd_per_mtok": rates.cache_write,
        "cache_write_1h_usd_per_mtok": rates.cache_write_1h,
        "reasoning_usd_per_mtok": rates.reasoning,
        "request_usd": quote.request_usd,
        "basis": quote.basis,
        "price_version": quote.price_version,
        "missing_reason": quote.missing_reason,
    }
