"""What a call is reserved for and what it has cost, in the units of the books."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from headgate_control.budgets.amount import Amount, nano_usd
from headgate_gateways.model.asked import Asked, BadCallError
from headgate_gateways.model.meter import DURATION_MS_FIRST
from headgate_gateways.model.usage import Usage, tier_of
from headgate_processors.enrich.price import PriceBook

MILLION = Decimal(1_000_000)
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Conservative:
    """What a token counts for where no list knows the price, in dollars for a million of them.

    `is_allowed` False: such models are not called at all.
    """

    input_usd_per_mtok: Decimal = Decimal(15)
    output_usd_per_mtok: Decimal = Decimal(75)
    is_allowed: bool = True

    def usd(self, input_tokens: int, output_tokens: int) -> Decimal:
        """The cost of so many."""
        return (self.input_usd_per_mtok * input_tokens + self.output_usd_per_mtok * output_tokens) / MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """Prices calls of one site."""

    book: PriceBook
    unpriced: Conservative = Conservative()

    def estimate(self, provider: str, asked: Asked, at_unix_nano: int) -> Amount:
        """The most that a call may cost, its reserved output all used and no input cached before; and its first second.

        Anthropic caches what it is asked to, OpenAI caches on its own.
        """
        given = asked.input_tokens_max
        is_written = asked.cache_ttl is not None or asked.operation != "messages"
        usage = Usage(
            input_tokens=given,
            cache_write_tokens=given if is_written else None,
            cache_write_1h_tokens=given if asked.cache_ttl == "1h" else None,
            output_tokens=asked.output_tokens_reserved,
        )
        first_ns = DURATION_MS_FIRST * _NS_PER_MS
        found = self.amount(provider, asked.model, usage, at_unix_nano=at_unix_nano, duration_ns=first_ns)
        tier = tier_of(asked.body)
        if tier is None:
            return found
        # A provider may answer in the standard tier instead.
        usage = replace(usage, service_tier=tier)
        other = self.amount(provider, asked.model, usage, at_unix_nano=at_unix_nano, duration_ns=first_ns)
        return max(found, other, key=lambda amount: amount.nano_usd)

    def continued(self, provider: str, asked: Asked, before_tokens: int | None) -> Asked:
        """A call that goes on from what its provider keeps, with that in its input.

        Where nobody knows how long that has become (None), it is as much as the model can read.

        Raises:
            BadCallError: that is not known either.
        """
        if before_tokens is not None:
            return replace(asked, input_tokens_max=before_tokens + asked.input_tokens_max)
        window = self.book.context_tokens(provider, asked.model)
        if window is None:
            raise BadCallError(
                "previous_response_id, conversation, prompt or item_reference: no price list says how much "
                f"{provider}/{asked.model} can read, so nothing bounds what this may cost: send all of it as input"
            )
        return replace(asked, input_tokens_max=max(window, asked.input_tokens_max))

    def objection(self, provider: str, model: str, at_unix_nano: int) -> str | None:
        """Why a model that no list knows the price of is not called; None where it may be."""
        day = datetime.fromtimestamp(at_unix_nano // _NS_PER_S, UTC).date()
        if self.unpriced.is_allowed or self.book.quote(provider, model, day).missing_reason is None:
            return None
        return (
            f"no price of {provider}/{model} is known: put one into prices.overrides, or allow gateways.model.unpriced"
        )

    def amount(
        self,
        provider: str,
        model: str,
        usage: Usage,
        *,
        at_unix_nano: int,
        duration_ns: int,
        answered: str | None = None,
    ) -> Amount:
        """What a call has cost; what its usage leaves open counts as nothing of that kind."""
        read = usage.cache_read_tokens or 0
        total, output = usage.input_tokens or 0, usage.output_tokens or 0
        day = datetime.fromtimestamp(at_unix_nano // _NS_PER_S, UTC).date()
        quote = self.book.quote(provider, answered or model, day, tier=usage.service_tier, requested_model=model)
        if quote.missing_reason == "no_price_for_tier":
            quote = self.book.quote(provider, answered or model, day, requested_model=model)
        # A list without a price for what is written to the cache has none beside that of input.
        has_writes = any(rates.cache_write is not None for rates in quote.rates)
        written = (usage.cache_write_tokens or 0) if has_writes else 0
        cost = self.book.cost(
            quote,
            uncached_input_tokens=max(0, total - read - written),
            output_tokens=output,
            cache_read_tokens=read,
            cache_write_tokens=written,
            cache_write_1h_tokens=min(written, usage.cache_write_1h_tokens or 0),
            reasoning_tokens=usage.reasoning_tokens or 0,
        )
        usd = cost.cost_usd if cost.cost_usd is not None else self.unpriced.usd(total, output)
        return Amount(nano_usd=nano_usd(usd), tokens=total + output, calls=1, duration_ms=-(-duration_ns // _NS_PER_MS))
