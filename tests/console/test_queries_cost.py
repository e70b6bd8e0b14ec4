"""What it cost, and what could not be priced."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from headgate_console.queries.cost import CostFilter, Group, cost_by, total_cost, unpriced

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def spent(views: Any, session_row: Make, call_row: Make) -> Any:
    """Three teams; a call failed, a model has no price, a crew reported only totals, an agent nothing."""
    crew = "cc" * 16
    return views(
        {
            "sessions": [
                session_row(input_tokens=3000, output_tokens=300, cache_read_tokens=None, cost_usd=Decimal("0.03")),
                session_row(
                    session_id=crew,
                    team="search",
                    models=["gpt-5-mini"],
                    input_tokens=500,
                    output_tokens=50,
                    cache_read_tokens=None,
                    cost_usd=None,
                ),
                session_row(
                    session_id="dd" * 16,
                    team="research",
                    models=[],
                    model_call_count=None,
                    input_tokens=None,
                    output_tokens=None,
                    cache_read_tokens=None,
                    cost_usd=None,
                ),
            ],
            "model_calls": [
                call_row(model_call_id="c1", cost_usd=Decimal("0.02")),
                call_row(model_call_id="c2", agent_name="reviewer", model="claude-haiku-4-5"),
                call_row(
                    model_call_id="c3", model="home-made", provider=None, cost_usd=None, cost_missing_reason="no_price"
                ),
                call_row(
                    model_call_id="c4",
                    status="error",
                    input_tokens=None,
                    output_tokens=None,
                    cost_usd=None,
                    cost_missing_reason=None,
                    usage_missing_reason="failed",
                ),
            ],
        }
    )


def test_cost_is_summed_by_group(spent: Any) -> None:
    """The dearest group comes first, and what was only reported as a total is in its team's sums."""
    rows = cost_by(spent, Group.TEAM, CostFilter())
    assert [
        ("payments", 4, 3000, Decimal("0.030000000")),
        ("research", 0, None, None),
        ("search", 0, 500, None),
    ] == [(row["group_value"], row["model_calls"], row["input_tokens"], row["cost_usd"]) for row in rows]


@pytest.mark.parametrize("group", Group)
def test_every_grouping_has_the_same_total(spent: Any, group: Group) -> None:
    """Whatever one groups by, nothing is lost and nothing is counted twice."""
    rows, total = cost_by(spent, group, CostFilter()), total_cost(spent, CostFilter())
    for name in ("model_calls", "input_tokens", "output_tokens", "cost_usd"):
        assert total[name] == sum(row[name] or 0 for row in rows), name


def test_a_total_that_names_one_model_is_that_models(spent: Any) -> None:
    """What a crew reports as a whole goes to its model where it used only one."""
    rows = {row["group_value"]: row for row in cost_by(spent, Group.MODEL, CostFilter())}
    assert 500 == rows["gpt-5-mini"]["input_tokens"]


def test_unknown_is_null_and_the_share_says_so(spent: Any) -> None:
    """A group without a price has no cost, and the total says which part was priced."""
    assert None is cost_by(spent, Group.TEAM, CostFilter(team="search"))[0]["cost_usd"]
    assert 2 / 6 == total_cost(spent, CostFilter())["priced_share"]


def test_what_has_no_cost_says_why(spent: Any) -> None:
    """Each reason is listed with its model and how much it concerns."""
    found = {(row["model"], row["reason"]): row["model_calls"] for row in unpriced(spent, CostFilter())}
    assert {
        ("home-made", "no_price"): 1,
        ("claude-sonnet-4-5", "failed"): 1,
        ("gpt-5-mini", "totals_only"): 0,
        (None, "no_calls_reported"): 0,
    } == found


def test_an_empty_store_costs_nothing_known(views: Any) -> None:
    """Without a call there are no groups, and the total is unknown rather than zero."""
    empty = views({})
    assert [] == cost_by(empty, Group.TEAM, CostFilter())
    assert None is total_cost(empty, CostFilter())["cost_usd"]
