"""What a soft budget says to whoever passes it, and models whose price nobody knows."""

from dataclasses import replace
from typing import Any

import pytest

from headgate_control.budgets.amount import Limits
from headgate_gateways.model.cost import Conservative


async def _answered(agent: Any, **body: Any) -> tuple[int, str | None, Any]:
    async with agent.chat(**body) as response:
        return response.status, response.headers.get("x-headgate-warning"), await response.read()


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_call_that_passes_a_soft_budget_says_so(site: Any, is_stream: bool) -> None:
    """In a header of its answer, in its decision, and in what is told of it; nothing is refused."""
    site.owner.set(replace(site.budget(), limits=Limits(calls=0), mode="soft"))
    status, warning, _ = site.run(lambda agent: _answered(agent, stream=is_stream))
    expected = f"soft budget of instance {site.instances[0]} (total): 1 calls wanted, 0 calls left of 0 calls"
    (told,) = (one.log_record.attributes["headgate.warnings"] for one in site.decisions())
    assert (200, expected, (expected,)) == (status, warning, told)


def test_a_call_that_passes_none_has_no_such_header(site: Any) -> None:
    """Nor a warning in its decision."""
    status, warning, _ = site.run(_answered)
    (told,) = (one.log_record.attributes["headgate.warnings"] for one in site.decisions())
    assert (200, None, ()) == (status, warning, told)


def test_a_model_without_a_price_is_refused_where_that_is_said(site: Any) -> None:
    """One that has a price is not, nor is the unknown one by default."""
    asked = ("gpt-5-mini", "gpt-5-unheard-of")

    def statuses() -> list[int]:
        return [site.run(lambda agent, name=name: _answered(agent, model=name))[0] for name in asked]

    before = statuses()
    site.unpriced = Conservative(is_allowed=False)
    assert ([200, 200], [200, 403]) == (before, statuses())
    last = site.decisions()[-1].log_record.attributes
    assert ("policy", "no price of openai/gpt-5-unheard-of is known") == (
        last["headgate.code"],
        last["headgate.reason"].partition(":")[0],
    )
