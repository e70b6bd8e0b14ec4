"""The data of `genai-prices` read as dated prices: which entry is meant, and what it says on one day."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

from genai_prices.data_snapshot import DataSnapshot, find_provider_by_id
from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices, TimeOfDateConstraint

THOUSAND = Decimal(1_000)

_PROVIDERS: Mapping[str, str] = {
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "aws.bedrock": "aws",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "x_ai": "x-ai",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "fireworks_ai": "fireworks",
    "together_ai": "together",
    "z_ai": "zai",
}
_STANDARD_TIERS = frozenset({"default", "standard", "auto", "on_demand", "standard_only"})
_MODEL_PREFIXES = ("models/", "publishers/google/models/", "publishers/anthropic/models/")
_TOKEN_PRICES: Mapping[str, str] = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """USD for a million tokens of each kind, of a call with more than `over_input_tokens` of input.

    None is unknown.
    """

    over_input_tokens: int = 0
    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The days on which a price holds: `first` and the day `after` the last; None is open."""

    first: date | None = None
    after: date | None = None

    def within(self, other: "Period") -> "Period":
        """The days that both have."""
        firsts = [day for day in (self.first, other.first) if day is not None]
        afters = [day for day in (self.after, other.after) if day is not None]
        return Period(first=max(firsts, default=None), after=min(afters, default=None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What the list says about a model on a day; `rates` rise by `over_input_tokens`.

    `varies` says that the price depends on the time of day, and that these are the highest.
    """

    rates: tuple[Rates, ...]
    request_usd: Decimal | None
    varies: bool


def standard_tier(tier: str | None) -> str | None:
    """The service tier, None for the standard one under any of its names."""
    return None if not tier or tier.lower() in _STANDARD_TIERS else tier.lower()


def find_entry(snapshot: DataSnapshot, provider: str | None, model: str) -> tuple[Provider, ModelInfo] | str:
    """The entry of a model, else `unknown_provider` or `unknown_model`."""
    listed = None
    if provider is not None:
        listed = find_provider_by_id(snapshot.providers, _PROVIDERS.get(provider.lower(), provider.replace("_", "-")))
        if listed is None:
            return "unknown_provider"
    for name in _model_names(model, listed):
        owner = listed or _owner(snapshot, name)
        entry = owner.find_model(name, all_providers=snapshot.providers) if owner else None
        if owner is not None and entry is not None:
            return owner, entry
    return "unknown_model"


def listed_on(owner: Provider, entry: ModelInfo, day: date, tier: str | None) -> Listed | str:
    """What an entry costs on a day, else `no_price_for_tier`."""
    context = None
    if tier is not None:
        context = {"service_tier": tier, "processing": tier, "speed": tier}
        if not _has_tier(owner, entry, context, day):
            return "no_price_for_tier"
    prices = [entry.get_prices(moment, context) for moment in _moments(entry, day)]
    requests = [price for model_price in prices if (price := model_price.requests_kcount) is not None]
    return Listed(
        rates=tuple(_rates(prices)),
        request_usd=max(map(_base, requests)) / THOUSAND if requests else None,
        varies=any(price != prices[0] for price in prices),
    )


def around(edges: Iterable[date], day: date) -> Period:
    """The days around `day` that no edge divides."""
    days = sorted(edges)
    return Period(
        first=max((edge for edge in days if edge <= day), default=None),
        after=min((edge for edge in days if edge > day), default=None),
    )


def entry_period(entry: ModelInfo, day: date) -> Period:
    """The days around `day` in which an entry says the same."""
    constraints = [variant.constraint for variant in entry.price_variants or ()]
    if isinstance(entry.prices, list):
        constraints += [conditional.constraint for conditional in entry.prices]
    return around({start.start_date for start in constraints if isinstance(start, StartDateConstraint)}, day)


def _model_names(model: str, listed: Provider | None) -> list[str]:
    """The name as it is, without the path that an API puts before it, and without the provider."""
    names = [model, *(model.removeprefix(prefix) for prefix in _MODEL_PREFIXES if model.startswith(prefix))]
    prefix, _, rest = model.partition("/")
    if rest and (listed is None or prefix.lower() in (listed.id, listed.name.lower())):
        names.append(rest)
    return names


def _owner(snapshot: DataSnapshot, model: str) -> Provider | None:
    """The provider whose models are called so."""
    name = model.lower()
    return next(
        (one for one in snapshot.providers if one.model_match is not None and one.model_match.is_match(name)), None
    )


def _has_tier(owner: Provider, entry: ModelInfo, context: Mapping[str, str], day: date) -> bool:
    """Whether the list has a price of its own for a tier; a borrowed entry has none."""
    noon = datetime.combine(day, time(12), UTC)
    return any(entry is own for own in owner.models) and any(
        all(context.get(key) == value for key, value in variant.when.items())
        and (variant.constraint is None or variant.constraint.active(noon))
        for variant in entry.price_variants or ()
    )


def _moments(entry: ModelInfo, day: date) -> list[datetime]:
    """Moments of a day that see every price of it: one, or the edges of the hours that have their own."""
    hours = {time(12)}
    for conditional in entry.prices if isinstance(entry.prices, list) else ():
        if isinstance(conditional.constraint, TimeOfDateConstraint):
            hours |= {
                conditional.constraint.start_time.replace(tzinfo=None),
                conditional.constraint.end_time.replace(tzinfo=None),
            }
    return [datetime.combine(day, hour, UTC) for hour in sorted(hours)]


def _rates(prices: Sequence[ModelPrice]) -> Iterator[Rates]:
    """The rates of each context tier; where prices differ over the day, the highest."""
    kinds = {
        kind: [price for model_price in prices if (price := getattr(model_price, key)) is not None]
        for kind, key in _TOKEN_PRICES.items()
    }
    tiered = (price for listed in kinds.values() for price in listed if isinstance(price, TieredPrices))
    for start in sorted({0} | {tier.start for price in tiered for tier in price.tiers}):
        at = {kind: max((_at(price, start) for price in listed), default=None) for kind, listed in kinds.items()}
        yield Rates(over_input_tokens=start, **at)


def _at(price: Decimal | TieredPrices, start: int) -> Decimal:
    """The price of a call whose input is just longer than `start` tokens."""
    if isinstance(price, Decimal):
        return price
    return next((tier.price for tier in reversed(price.tiers) if start >= tier.start), price.base)


def _base(price: Decimal | TieredPrices) -> Decimal:
    return price if isinstance(price, Decimal) else price.base
