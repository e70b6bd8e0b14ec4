"""Budgets over HTTP: the one owner's answers, for gateways alone, by control's own clock."""

from typing import Any

import pytest

from headgate_control.budgets.amount import Amount
from headgate_control.feed.budget_wire import LIFETIME_NS_MAX, answer_from


def asked(site: Any, reservation_id: str = "dec-1", **more: Any) -> dict[str, Any]:
    """A reservation of one call by the instance, which may make two."""
    body = {"reservation_id": reservation_id, "places": [["instance", site.instance]], "amount": {"calls": 1}}
    return {**body, "lifetime_ns": 1_000, **more}


def account(site: Any) -> Any:
    """What the books hold of the instance's budget."""
    return site.owner.account(next(iter(site.state.now.budgets.values())), 1_000)


def test_what_is_reserved_is_in_the_books_and_what_does_not_fit_says_why(site: Any) -> None:
    """Asking again by the same id reserves no more."""

    async def steps(readers: Any) -> list[Any]:
        found = []
        for name in ("dec-1", "dec-1", "dec-2", "dec-3"):
            status, answer = await readers.post("/v1/budgets/reserve", asked(site, name))
            assert 200 == status
            found.append(answer_from(answer))
        return found

    answers = site.run(steps)
    assert [True, True, True, False] == [one.reservation is not None for one in answers]
    assert answers[0] == answers[1]
    assert 2_000 == answers[0].reservation.expires_unix_nano
    assert (site.instance, "calls", 2) == (
        answers[3].refused.budget.place[1],
        answers[3].refused.unit,
        answers[3].refused.limit,
    )
    assert Amount(calls=2) == account(site).reserved


def test_a_reservation_takes_the_place_of_another(site: Any) -> None:
    """Who heard no answer may ask again, and gets the same."""

    async def steps(readers: Any) -> list[Any]:
        await readers.post("/v1/budgets/reserve", asked(site, "dec-1", amount={"calls": 2}))
        moved = asked(site, "dec-2", amount={"calls": 2}, instead_of="dec-1")
        return [await readers.post("/v1/budgets/reserve", moved) for _ in range(2)]

    (first, answer), again = site.run(steps)
    assert (200, (200, answer)) == (first, again)
    assert Amount(calls=2) == account(site).reserved


def test_a_call_that_runs_gets_more_while_its_reservation_stands(site: Any) -> None:
    """One that is settled gets nothing."""

    async def steps(readers: Any) -> list[int]:
        await readers.post("/v1/budgets/reserve", asked(site))
        more = {"reservation_id": "dec-1", "amount": {"calls": 1}, "lifetime_ns": 5_000}
        first, _ = await readers.post("/v1/budgets/top_up", more)
        reserved = account(site).reserved
        settled = {"settlements": [{"reservation_id": "dec-1", "amount": {"calls": 1}}]}
        assert (200, {"settled": 1, "gone": []}) == await readers.post("/v1/budgets/settle", settled)
        assert (200, {"settled": 0, "gone": ["dec-1"]}) == await readers.post("/v1/budgets/settle", settled)
        last, _ = await readers.post("/v1/budgets/top_up", more)
        assert Amount(calls=2) == reserved
        return [first, last]

    assert [200, 404] == site.run(steps)
    assert (Amount(calls=1), Amount()) == (account(site).settled, account(site).reserved)


@pytest.mark.parametrize(
    "more",
    [
        {"reservation_id": ""},
        {"places": [["galaxy", "x"]]},
        {"places": [["team"]]},
        {"places": [["team", "x"]] * 33},
        {"amount": {"calls": -1}},
        {"amount": {"calls": 1.5}},
        {"amount": {"calls": 1 << 63}},
        {"amount": []},
        {"lifetime_ns": 0},
        {"instead_of": ""},
        {"instead_of": 7},
        {"lifetime_ns": LIFETIME_NS_MAX + 1},
    ],
)
def test_what_is_no_reservation_is_refused(site: Any, more: dict[str, Any]) -> None:
    """And nothing is in the books."""
    status, answer = site.run(lambda readers: readers.post("/v1/budgets/reserve", asked(site, **more)))
    assert (400, Amount()) == (status, account(site).reserved)
    assert answer["error"]


@pytest.mark.parametrize(("token", "expected"), [("AGENT", 403), ("nobody", 401), ("operator", 200)])
@pytest.mark.parametrize("path", ["reserve", "settle"])
def test_an_agent_has_no_hand_in_the_books(site: Any, token: str, expected: int, path: str) -> None:
    """It could settle its own calls at nothing."""
    body = {**asked(site), "settlements": []}
    shown = site.key if token == "AGENT" else token
    status, _ = site.run(lambda readers: readers.post(f"/v1/budgets/{path}", body, token=shown))
    assert expected == status


def test_settlements_that_are_none_are_refused(site: Any) -> None:
    """All of a request or nothing of it."""
    for listed in ("x", ["x"], [{"reservation_id": "a", "amount": {}}] * 201):
        status, _ = site.run(lambda readers, listed=listed: readers.post("/v1/budgets/settle", {"settlements": listed}))
        assert 400 == status
