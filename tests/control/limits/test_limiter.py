"""Limits of calls: so many in a minute, so many at once."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_control.budgets.budget import Place
from headgate_control.limits.limit import Limit
from headgate_control.limits.limiter import Limiter
from headgate_processors.errors import ConfigError

TEAM: Place = ("team", "payments")
OTHER: Place = ("team", "search")
PLACES: Sequence[Place] = [("platform", ""), TEAM, ("instance", "ai-1")]
SECOND = 1_000_000_000


def limiter(**limits: int) -> Limiter:
    """A limiter of one team."""
    every = {"l": Limit(limit_id="l", place=TEAM, **limits)}
    return Limiter(lambda: every)


def test_calls_beyond_the_rate_are_refused_until_time_has_passed() -> None:
    """A minute's worth at once, then one by one."""
    found = limiter(calls_per_minute=2)
    at = [found.take(str(number), PLACES, at_unix_nano=0) is None for number in range(3)]
    later = [found.take(f"later-{number}", PLACES, at_unix_nano=30 * SECOND) is None for number in range(2)]
    assert ([True, True, False], [True, False]) == (at, later)


def test_a_call_that_goes_on_elsewhere_counts_once() -> None:
    """In the limits of both places it is the same call; in those of the new one it is another."""
    here: Place = ("model", "openai/gpt-5")
    there: Place = ("model", "azure/gpt-5")
    limits = {
        name: Limit(limit_id=name, place=place, calls_per_minute=1, open_calls_max=1)
        for name, place in (("team", TEAM), ("here", here), ("there", there))
    }
    found = Limiter(lambda: limits)
    assert found.take("a", [TEAM, here], at_unix_nano=0) is None
    assert found.take("b", [TEAM, there], at_unix_nano=0, instead_of="a") is None
    found.handed_over("b", [TEAM, there], instead_of="a")
    later = 60 * SECOND
    at = [
        found.take(name, [place], at_unix_nano=later) is None
        for name, place in (("0", TEAM), ("1", here), ("2", there))
    ]
    found.ended("b")
    then = [found.take(name, [place], at_unix_nano=later) is None for name, place in (("3", TEAM), ("4", there))]
    assert ([False, True, False], [True, True]) == (at, then)


def test_a_call_that_may_not_go_on_elsewhere_is_open_where_it_was() -> None:
    """What was counted for the other place is given back."""
    limits = {"there": Limit(limit_id="there", place=OTHER, open_calls_max=0)}
    limits["team"] = Limit(limit_id="team", place=TEAM, open_calls_max=1)
    found = Limiter(lambda: limits)
    assert found.take("a", [TEAM], at_unix_nano=0) is None
    assert found.take("b", [TEAM, OTHER], at_unix_nano=0, instead_of="a") is not None
    assert found.take("c", [TEAM], at_unix_nano=0) is not None


def test_calls_beyond_those_that_may_be_open_are_refused_until_one_ends() -> None:
    """Ending the same call twice makes room for one."""
    found = limiter(open_calls_max=1)
    first, second = (found.take(name, PLACES, at_unix_nano=0) for name in "ab")
    for _ in range(2):
        found.ended("a")
    third, fourth = (found.take(name, PLACES, at_unix_nano=0) for name in "cd")
    assert (None, "limit of team payments: 1 calls at once, and as many are open", None) == (first, second, third)
    assert fourth is not None


def test_others_are_not_counted() -> None:
    """A limit is of its own place."""
    found = limiter(calls_per_minute=0)
    assert found.take("a", [OTHER], at_unix_nano=0) is None
    assert "0 calls a minute" in (found.take("b", PLACES, at_unix_nano=0) or "")


def test_who_is_refused_by_one_limit_is_counted_by_none() -> None:
    """The limits of all places hold together."""
    every = {
        "wide": Limit(limit_id="wide", place=("platform", ""), open_calls_max=1),
        "none": Limit(limit_id="none", place=TEAM, calls_per_minute=0),
    }
    found = Limiter(lambda: every)
    assert found.take("a", PLACES, at_unix_nano=0) is not None
    assert found.take("b", [("platform", "")], at_unix_nano=0) is None


def test_limits_may_change_while_calls_run() -> None:
    """What is open stays counted."""
    every = {"l": Limit(limit_id="l", place=TEAM, open_calls_max=2)}
    found = Limiter(lambda: every)
    assert found.take("a", PLACES, at_unix_nano=0) is None
    every = {"l": Limit(limit_id="l", place=TEAM, open_calls_max=1)}
    assert found.take("b", PLACES, at_unix_nano=0) is not None
    found.ended("a")
    assert found.take("b", PLACES, at_unix_nano=0) is None


@given(rate=st.integers(0, 20), steps=st.lists(st.integers(-30, 90), max_size=60))
def test_no_minute_sees_more_than_twice_the_rate(rate: int, steps: list[int]) -> None:
    """Whatever the clock does, and it may go back."""
    found, now, latest, passed = limiter(calls_per_minute=rate), 0, 0, []
    for number, step in enumerate(steps):
        now += step * SECOND
        latest = max(latest, now)
        if found.take(str(number), PLACES, at_unix_nano=now) is None:
            passed.append(latest)
    for start in passed:
        assert sum(start <= at < start + 60 * SECOND for at in passed) <= 2 * rate


def taken(found: Limiter, call_id: str, tokens: int, at: int = 0) -> str | None:
    """Whether a call of so many tokens may begin."""
    return found.take(call_id, PLACES, at_unix_nano=at, tokens=tokens)


def test_tokens_count_with_what_a_call_may_need_and_then_with_what_it_used() -> None:
    """What it did not use is there for the next."""
    found = limiter(tokens_per_minute=100)
    first, second = taken(found, "a", 80), taken(found, "b", 30)
    found.ended("a", tokens=60)
    assert (None, "limit of team payments: 100 tokens a minute, and 20 are left of the 30 that it may need", None) == (
        first,
        second,
        taken(found, "b", 40),
    )


def test_a_call_that_used_more_than_was_taken_for_it_is_paid_off_by_waiting() -> None:
    """No more passes until the minute has made up for it."""
    found = limiter(tokens_per_minute=60)
    assert taken(found, "a", 10) is None
    found.ended("a", tokens=120)
    at = [taken(found, str(second), 1, second * SECOND) is None for second in (1, 59, 61)]
    assert [False, False, True] == at


def test_a_call_larger_than_a_minute_passes_when_nothing_was_used() -> None:
    """Else it never would."""
    found = limiter(tokens_per_minute=100)
    first, second = taken(found, "a", 5_000), taken(found, "b", 1)
    found.ended("a")
    assert (None, True, True) == (first, second is not None, taken(found, "c", 1) is not None)


def test_no_tokens_a_minute_let_nothing_pass() -> None:
    """Not even what needs none that is known."""
    assert "0 tokens a minute" in (taken(limiter(tokens_per_minute=0), "a", 0) or "")


def test_what_a_call_took_goes_with_it_where_it_goes_on() -> None:
    """It is settled there by its new name, and where it is no more it has used nothing."""
    limits = {name: Limit(limit_id=name, place=(name, "x"), tokens_per_minute=100) for name in ("team", "model")}
    found = Limiter(lambda: limits)
    team, model = [place.place for place in limits.values()]
    assert found.take("a", [team, model], at_unix_nano=0, tokens=100) is None
    assert found.take("b", [team], at_unix_nano=0, tokens=100, instead_of="a") is None
    found.handed_over("b", [team], instead_of="a")
    elsewhere = found.take("c", [model], at_unix_nano=0, tokens=100)
    found.ended("b", tokens=40)
    assert (None, None) == (elsewhere, found.take("d", [team], at_unix_nano=0, tokens=60))


@given(
    rate=st.integers(1, 50),
    calls=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60), st.integers(0, 60)), max_size=40),
)
def test_what_is_used_in_a_minute_stays_below_what_two_of_them_have_and_one_call(
    rate: int, calls: list[tuple[int, int, int]]
) -> None:
    """Calls one after the other, each of which needs no more than it says."""
    found, now, used = limiter(tokens_per_minute=rate), 0, []
    for number, (wait_s, wanted, real) in enumerate(calls):
        now += wait_s * SECOND
        if taken(found, str(number), wanted, now) is None:
            spent = min(wanted, real)
            found.ended(str(number), tokens=spent)
            used.append((now, spent))
    for start, _ in used:
        assert sum(spent for at, spent in used if start <= at < start + 60 * SECOND) <= 2 * rate + 60


def test_a_limit_is_written_and_read() -> None:
    """As control keeps it."""
    limit = Limit(limit_id="l", place=TEAM, open_calls_max=3, tokens_per_minute=9)
    assert limit == Limit.read(limit.written())


@pytest.mark.parametrize("given", [{}, {"calls_per_minute": -1}, {"tokens_per_minute": -1}])
def test_a_limit_of_nothing_is_an_error(given: dict[str, int]) -> None:
    """It says what is expected."""
    with pytest.raises(ConfigError, match="expected calls_per_minute, tokens_per_minute or open_calls_max"):
        Limit(limit_id="l", place=TEAM, **given)
