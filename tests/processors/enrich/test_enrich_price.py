"""Prices: list, overrides, tiers and days, and a reason wherever there is no cost."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from headgate_processors.enrich.price import PRICE_SCHEMA, Cost, PriceBook, Quote
from headgate_processors.errors import ConfigError

DAY = date(2026, 11, 20)
BOOK = PriceBook.load()
LISTED = [(provider.id, model.id) for provider in get_snapshot().providers for model in provider.models]


def _cost(
    book: PriceBook, quote: Quote | None, uncached: int | None = 1000, output: int | None = 100, **more: int
) -> Cost:
    return book.cost(quote, uncached_input_tokens=uncached, output_tokens=output, **more)


def _overrides(folder: Path, prices: str) -> PriceBook:
    path = folder / "prices.yaml"
    path.write_text(f"version: '7'\nprices:\n{prices}")
    return PriceBook.load(path)


@given(
    listed=st.sampled_from(LISTED),
    counts=st.tuples(*(st.integers(0, most) for most in (10**6, 10**6, 10**5, 10**5, 10**5))),
    days=st.integers(0, 700),
)
def test_costs_are_those_of_the_list(listed: tuple[str, str], counts: tuple[int, ...], days: int) -> None:
    """For every model that can be priced the cost is what `genai-prices` itself calculates."""
    provider, model = listed
    uncached, read, shortly, kept, output = counts
    day, written = date(2026, 12, 31) - timedelta(days=days), shortly + kept
    cache = {"cache_read_tokens": read, "cache_write_tokens": written, "cache_write_1h_tokens": kept}
    cost = _cost(BOOK, BOOK.quote(provider, model, day), uncached, output, **cache)
    if cost.cost_usd is None or cost.basis == "upper_bound":
        return
    expected = calc_price(
        Usage(input_tokens=uncached + read + written, output_tokens=output, **cache),
        model_ref=model,
        provider_id=provider,
        genai_request_timestamp=datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
    ).total_price
    assert expected.quantize(Decimal("0.000000001")) == cost.cost_usd


@pytest.mark.parametrize(
    ("provider", "model", "usd"),
    [
        ("openai", "gpt-5-mini", "0.000450000"),
        ("anthropic", "claude-opus-5-5", "0.006000000"),
        ("gcp.gemini", "gemini-2.5-flash", "0.000550000"),
        ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-flash", "0.000550000"),
        ("aws.bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "0.004500000"),
        ("azure.ai.openai", "gpt-4.1", "0.002800000"),
        (None, "claude-sonnet-4-5", "0.004500000"),
        (None, "openai/gpt-5-mini", "0.000450000"),
    ],
)
def test_providers_go_by_their_names_in_the_conventions(provider: str | None, model: str, usd: str) -> None:
    """Every provider name of the conventions finds its list, and without one the model says whose it is."""
    assert Decimal(usd) == _cost(BOOK, BOOK.quote(provider, model, DAY)).cost_usd


@pytest.mark.parametrize(
    ("provider", "model", "reason"),
    [
        ("openai", "gpt-of-tomorrow", "unknown_model"),
        (None, "my-own-model", "unknown_model"),
        ("langchain", "gpt-5-mini", "unknown_provider"),
        ("ibm.watsonx.ai", "granite", "unknown_provider"),
    ],
)
def test_an_unknown_price_is_null_with_its_reason(provider: str | None, model: str, reason: str) -> None:
    """What nobody listed costs NULL, never 0."""
    expected = Cost(cost_usd=None, basis=None, missing_reason=reason, price_version=BOOK.price_version)
    assert expected == _cost(BOOK, BOOK.quote(provider, model, DAY))


@pytest.mark.parametrize(
    ("uncached", "output", "reason"),
    [(None, None, "no_usage"), (None, 5, "no_input_tokens"), (5, None, "no_output_tokens")],
)
def test_unknown_usage_is_null_with_its_reason(uncached: int | None, output: int | None, reason: str) -> None:
    """Half of the usage is not a cost."""
    cost = _cost(BOOK, BOOK.quote("openai", "gpt-5-mini", DAY), uncached, output)
    assert (None, reason) == (cost.cost_usd, cost.missing_reason)


def test_embeddings_need_no_output() -> None:
    """A model without an output price is priced by its input."""
    cost = _cost(BOOK, BOOK.quote("openai", "text-embedding-3-small", DAY), 1_000_000, None)
    assert Decimal("0.02") == cost.cost_usd


def test_cache_writes_without_a_price_are_null() -> None:
    """A write may cost more than input, so its price is not guessed."""
    cost = _cost(BOOK, BOOK.quote("openai", "gpt-5-mini", DAY), cache_write_tokens=5)
    assert (None, "no_price_for_cache_write") == (cost.cost_usd, cost.missing_reason)


def test_cache_reads_without_a_price_are_bounded_by_input() -> None:
    """A list without a discount for reads gives an upper bound, and says so."""
    quote = BOOK.quote("groq", "llama-3.3-70b-versatile", DAY)
    whole, split = _cost(BOOK, quote, 1000), _cost(BOOK, quote, 900, cache_read_tokens=100)
    assert ("list", "upper_bound", whole.cost_usd) == (whole.basis, split.basis, split.cost_usd)


def test_a_long_context_changes_the_price_of_every_token() -> None:
    """The tier is chosen by the whole input, caches included, and counts from one token more."""
    quote = BOOK.quote("anthropic", "claude-sonnet-4-5", DAY)
    short = _cost(BOOK, quote, 100_000, 0, cache_read_tokens=100_000).cost_usd
    long = _cost(BOOK, quote, 100_000, 0, cache_read_tokens=100_001).cost_usd
    assert (Decimal("0.330000000"), Decimal("0.660000600")) == (short, long)


def test_a_price_depends_on_its_day() -> None:
    """A call is priced by the list of its own day."""
    before, after = (BOOK.quote("openai", "gpt-5.6-luna", day) for day in (date(2026, 7, 29), date(2026, 7, 30)))
    assert (Decimal("0.001600000"), Decimal("0.000320000")) == (
        _cost(BOOK, before).cost_usd,
        _cost(BOOK, after).cost_usd,
    )
    assert (date(2026, 7, 30), date(2026, 7, 30)) == (before.period.after, after.period.first)


def test_a_price_that_varies_over_the_day_is_an_upper_bound() -> None:
    """Where the hour decides, the highest price of the day counts, and the basis says so."""
    assert "upper_bound" == BOOK.quote("deepseek", "deepseek-chat", DAY).basis


@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        (None, "0.000450000"),
        ("default", "0.000450000"),
        ("flex", "0.000225000"),
        ("batch", "0.000225000"),
        ("scale", None),
    ],
)
def test_service_tiers_have_their_own_prices(tier: str | None, expected: str | None) -> None:
    """A tier that the list does not price is unknown, not standard."""
    cost = _cost(BOOK, BOOK.quote("openai", "gpt-5-mini", DAY, tier=tier))
    assert (Decimal(expected) if expected else None) == cost.cost_usd
    assert (None if expected else "no_price_for_tier") == cost.missing_reason


def test_an_unlisted_snapshot_is_billed_as_the_model_asked_for() -> None:
    """The response names a dated snapshot; the request names what is sold."""
    quote = BOOK.quote("openai", "gpt-5-mini-2026-08-07", DAY, requested_model="gpt-5-mini")
    assert (None, "gpt-5-mini") == (quote.missing_reason, quote.model)
    neither = BOOK.quote("openai", "a", DAY, requested_model="b")
    assert ("unknown_model", "a") == (neither.missing_reason, neither.model)


def test_a_missing_quote_has_no_cost() -> None:
    """A call without a model is unknown."""
    assert "unknown_model" == _cost(BOOK, None).missing_reason


def test_overrides_win_over_the_list(tmp_path: Path) -> None:
    """A negotiated price counts on its days and is named as such; other days keep the list."""
    book = _overrides(
        tmp_path,
        "- {provider: openai, model: 'gpt-5-*', from: 2026-06-01, until: 2026-12-01, input: '0.10', output: '1.00',"
        " cache_read: '0.01', reason: contract 4711}\n",
    )
    inside, outside = (book.quote("openai", "gpt-5-mini", day) for day in (DAY, date(2026, 12, 1)))
    assert (Decimal("0.000200000"), "override") == (_cost(book, inside).cost_usd, _cost(book, inside).basis)
    assert "list" == _cost(book, outside).basis
    assert (date(2026, 6, 1), date(2026, 12, 1)) == (inside.period.first, inside.period.after)
    assert inside.price_version.startswith(f"{BOOK.price_version}, overrides 7 (")


def test_overrides_price_what_no_list_has(tmp_path: Path) -> None:
    """A model of one's own has tiers, a price for each request, and the first entry that fits."""
    book = _overrides(
        tmp_path,
        "- {model: own, input: '1', output: '2', request: '0.005', reason: own GPUs,"
        " context_tiers: [{over_input_tokens: 1000, input: '3', output: '4'}]}\n"
        "- {model: '*', tier: flex, input: '9', output: '9', reason: never for the standard tier}\n"
        "- {model: ow*, input: '9', output: '9', reason: too late}\n",
    )
    quote = book.quote("vllm", "own", DAY)
    assert [Decimal("0.0062"), Decimal("0.008403")] == [_cost(book, quote, count).cost_usd for count in (1000, 1001)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "{model: a, input: 1.5, reason: x}",
            "prices.yaml:3: prices[0].input: write prices as text in quotes",
        ),
        ("{model: a, input: '-1', reason: x}", "is out of range"),
        ("{model: a, input: cheap, reason: x}", "'cheap' is no number"),
        ("{model: a, input: '1'}", "prices[0].reason: Field required"),
        ("{model: a, reason: x}", "needs at least `input`, `output` or `request`"),
        ("{model: a, input: '1', from: 2026-02-01, until: 2026-01-01, reason: x}", "must be later than `from`"),
        ("{model: a, imput: '1', reason: x}", "did you mean 'input'?"),
        ("{model: a, input: '1', from: soon, reason: x}", "prices[0].from"),
    ],
)
def test_a_wrong_override_says_where(tmp_path: Path, entry: str, message: str) -> None:
    """Floats, missing reasons, misspelt keys and impossible dates are refused."""
    with pytest.raises(ConfigError) as refused:
        _overrides(tmp_path, f"- {entry}\n")
    assert message in str(refused.value)


def test_the_table_joins_in_sql(tmp_path: Path) -> None:
    """Periods and context tiers of a model are rows that give the same cost in DuckDB."""
    book = _overrides(tmp_path, "- {model: own, input: '1', output: '2', until: 2026-03-01, reason: x}\n")
    models = [("openai", "gpt-5.6-luna"), (None, "claude-sonnet-4-5"), ("vllm", "own")]
    prices = book.table(models)
    assert prices.schema == PRICE_SCHEMA
    con = duckdb.connect()
    con.register("prices", prices)
    con.execute("CREATE TABLE calls (provider TEXT, model TEXT, day DATE, input BIGINT, output BIGINT)")
    calls = [
        (*model, day, tokens, 100) for model in models for day in (date(2026, 2, 1), DAY) for tokens in (1000, 300_000)
    ]
    con.executemany("INSERT INTO calls VALUES (?, ?, ?, ?, ?)", calls)
    rows = con.sql(
        "SELECT c.provider, c.model, c.day, c.input,"
        " (c.input * p.input_usd_per_mtok + c.output * p.output_usd_per_mtok) / 1e6"
        " FROM calls c JOIN prices p ON p.provider IS NOT DISTINCT FROM c.provider AND p.model = c.model"
        " AND (p.valid_from IS NULL OR c.day >= p.valid_from) AND (p.valid_to IS NULL OR c.day < p.valid_to)"
        " AND (p.over_input_tokens = 0 OR c.input > p.over_input_tokens)"
        " QUALIFY row_number() OVER ("
        "PARTITION BY c.provider, c.model, c.day, c.input ORDER BY p.over_input_tokens DESC) = 1"
    ).fetchall()
    expected = {call[:4]: _cost(book, book.quote(*call[:3]), call[3]).cost_usd for call in calls}
    found = {row[:4]: None if row[4] is None else Decimal(str(row[4])).quantize(Decimal("0.000000001")) for row in rows}
    assert expected == found
