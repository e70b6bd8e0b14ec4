"""The shape of a price override file: negotiated prices, and prices of models that no list has."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BeforeValidator, Field

from headgate_processors.documents import Document, Problem

PRICE_USD_MAX = Decimal(1_000_000)


def _price(value: object) -> Decimal:
    if not isinstance(value, str):
        raise ValueError('write prices as text in quotes, such as "1.25"')
    try:
        price = Decimal(value)
    except InvalidOperation:
        raise ValueError(f'{value!r} is no number; expected USD, such as "1.25"') from None
    if not price.is_finite() or not 0 <= price <= PRICE_USD_MAX:
        raise ValueError(f"{value!r} is out of range; expected 0 to {PRICE_USD_MAX} USD")
    return price


Price = Annotated[Decimal, BeforeValidator(_price)]


class TokenPrices(Document):
    """USD for a million tokens of each kind; a kind that is left out has no known price."""

    input: Price | None = None
    output: Price | None = None
    cache_read: Price | None = None
    cache_write: Price | None = None
    cache_write_1h: Price | None = None
    reasoning: Price | None = None


class ContextTier(TokenPrices):
    """The prices of a whole call whose input is longer than `over_input_tokens`."""

    over_input_tokens: int = Field(gt=0)


class Override(TokenPrices):
    """A price that wins over the list, from the day `from` until the day before `until` (UTC).

    `request` is USD for one request, besides its tokens.
    """

    provider: str | None = None
    model: str
    tier: str | None = None
    from_: date | None = Field(default=None, alias="from")
    until: date | None = None
    request: Price | None = None
    context_tiers: tuple[ContextTier, ...] = ()
    reason: str = Field(min_length=1)

    def names(self, provider: str | None, model: str) -> bool:
        """Whether the override is about a model; `model` is a glob, and names are compared without case."""
        same = self.provider is None or (provider or "").lower() == self.provider.lower()
        return same and fnmatchcase(model.lower(), self.model.lower())

    def holds(self, day: date, tier: str | None) -> bool:
        """Whether it holds on a day, for a service tier; one without a tier holds for the standard tier."""
        started = self.from_ is None or day >= self.from_
        return started and (self.until is None or day < self.until) and self.tier == tier


class OverrideFile(Document):
    """The whole of an override file; of several prices that fit, the first wins."""

    version: str
    prices: tuple[Override, ...] = ()

    def problems(self) -> Iterator[Problem]:
        """Prices that say nothing, that end before they begin, or whose context tiers do not rise."""
        for position, entry in enumerate(self.prices):
            if entry.input is None and entry.output is None and entry.request is None:
                yield ("prices", position), "needs at least `input`, `output` or `request`"
            if entry.from_ is not None and entry.until is not None and entry.until <= entry.from_:
                yield ("prices", position, "until"), "must be later than `from`"
            starts = [tier.over_input_tokens for tier in entry.context_tiers]
            if starts != sorted(set(starts)):
                yield ("prices", position, "context_tiers"), "must rise by `over_input_tokens`"
