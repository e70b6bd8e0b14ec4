"""What a call cost: whose price counts, what an upper bound is, and why there is none."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headgate_analytics.costs import pricing
from headgate_analytics.testing.nodes import START_UNIX_NANO
from headgate_processors.enrich.price import PriceBook

OVERRIDES = """
version: "1"
prices:
  - {provider: openai, model: house-model, input: "10", output: "20", cache_read: "1", reason: our own}
  - {provider: openai, model: gpt-5-mini, input: "1", output: "1", reason: contract}
"""
Row = dict[str, Any]


@pytest.fixture(scope="module")
def listed() -> PriceBook:
    """The packaged price list."""
    return PriceBook.load()


@pytest.fixture(scope="module")
def overridden(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    """The list with a site's prices over it."""
    path: Path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_text(OVERRIDES, encoding="utf-8")
    return PriceBook.load(path)


def _row(**given: Any) -> Row:
    row = {
        "provider": "openai",
        "model": "gpt-5-mini",
        "request_model": "gpt-5-mini",
        "service_tier": None,
        "start_time_unix_nano": START_UNIX_NANO,
        "operation": "chat",
        "usage_source": "reported",
        "input_tokens": 1_000_000,
        "uncached_input_tokens": 1_000_000,
        "output_tokens": 0,
        "cache_read_tokens": 0,
        "cache_write_tokens": None,
        "cache_write_1h_tokens": None,
        "reasoning_tokens": None,
    }
    return row | given


def _costed(book: PriceBook, row: Row, reported: Decimal | None = None, *, told: bool = False) -> tuple[Any, ...]:
    found = pricing(book)(row, reported, told)
    return found["cost_usd"], found["cost_basis"], found["cost_missing_reason"]


def test_a_sites_price_stands_before_what_the_agent_reports_and_that_before_the_list(
    listed: PriceBook, overridden: PriceBook
) -> None:
    """Override, reported, list: the site pays, the agent saw, the list only knows."""
    assert (Decimal("1.000000000"), "override", None) == _costed(overridden, _row(), Decimal("0.5"))
    assert (Decimal("0.5"), "reported", None) == _costed(listed, _row(), Decimal("0.5"))
    cost, basis, reason = _costed(listed, _row())
    assert cost > 0
    assert ("list", None) == (basis, reason)


def test_a_reported_cost_counts_without_tokens_and_without_a_price(listed: PriceBook) -> None:
    """A source that tells money and no tokens is believed."""
    silent = _row(usage_source=None, input_tokens=None, uncached_input_tokens=None, output_tokens=None)
    assert (Decimal("0.5"), "reported", None) == _costed(listed, silent, Decimal("0.5"))
    assert (Decimal("0.5"), "reported", None) == _costed(listed, _row(model="nobody-knows"), Decimal("0.5"))
    assert (Decimal(0), "reported", None) == _costed(listed, _row(), Decimal(0))


@pytest.mark.parametrize(
    ("given", "told", "basis"),
    [
        ({}, False, "list"),
        ({"uncached_input_tokens": None, "cache_read_tokens": None}, False, "upper_bound"),
        ({"uncached_input_tokens": None, "cache_read_tokens": None}, True, "list"),
        ({"uncached_input_tokens": None, "operation": "embeddings", "model": "text-embedding-3-small"}, False, "list"),
    ],
    ids=["split", "not split", "told elsewhere", "embeddings"],
)
def test_without_a_split_the_price_is_an_upper_bound(listed: PriceBook, given: Row, told: bool, basis: str) -> None:
    """All input as if it were fresh; a source that tells the cache on other calls had none here."""
    assert basis == _costed(listed, _row(**given), told=told)[1]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"usage_source": None}, "no_usage"),
        ({"model": None}, "unknown_model"),
        ({"model": "nobody-knows", "request_model": "nobody-knows"}, "unknown_model"),
        ({"output_tokens": None}, "no_output_tokens"),
        ({"uncached_input_tokens": None, "input_tokens": None}, "no_input_tokens"),
    ],
    ids=str,
)
def test_no_cost_has_a_reason(listed: PriceBook, given: Row, reason: str) -> None:
    """Unknown is NULL and never zero."""
    assert (None, None, reason) == _costed(listed, _row(**given))


def test_cached_input_costs_what_cached_input_costs(overridden: PriceBook) -> None:
    """Fresh at 10, read at 1, output at 20 dollars a million."""
    row = _row(model="house-model", uncached_input_tokens=600_000, cache_read_tokens=400_000, output_tokens=100_000)
    assert (Decimal("8.400000000"), "override", None) == _costed(overridden, row)


def test_the_price_says_its_version(listed: PriceBook) -> None:
    """Whoever asks later why a number changed finds the list; a reported cost has none."""
    assert listed.price_version == pricing(listed)(_row(), None, False)["price_version"]
    assert pricing(listed)(_row(), Decimal(1), False)["price_version"] is None
