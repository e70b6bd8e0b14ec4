"""The books: no ceiling is passed by what is reserved, nothing is lost, and a replay gives the same books."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_control.budgets.amount import NOTHING, Amount, Limits, nano_usd, shown
from headgate_control.budgets.budget import Budget, Mode, Place, Window
from headgate_control.budgets.ledger import Account, Answer, Ledger, Reservation

DAY = int(datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC).timestamp()) * 1_000_000_000
NEXT_DAY = DAY + 2_000_000_000
MINUTE = 60_000_000_000
TEAM: Place = ("team", "payments")
INSTANCE: Place = ("instance", "ai-1")


def budget(
    place: Place, *, calls: int | None = None, tokens: int | None = None, window: Window = "total", mode: Mode = "hard"
) -> Budget:
    """A budget of a place."""
    limits = Limits(calls=calls, tokens=tokens)
    return Budget(budget_id=f"{place[0]}-{window}-{mode}", place=place, window=window, limits=limits, mode=mode)


def ledger(*budgets: Budget) -> Ledger:
    """Books with budgets."""
    made = Ledger()
    for one in budgets:
        made.set(one)
    return made


def reserve(
    books: Ledger,
    name: str,
    amount: Amount,
    *,
    at: int = DAY,
    places: Sequence[Place] = (TEAM, INSTANCE),
    instead_of: str | None = None,
) -> Answer:
    """A reservation of a minute."""
    answer = books.quote(name, places, amount, at_unix_nano=at, expires_unix_nano=at + MINUTE, instead_of=instead_of)
    return made(books, answer, instead_of)


def top_up(books: Ledger, name: str, tokens: int, *, expires: int) -> Answer:
    """More in a reservation."""
    return made(books, books.quote_more(name, Amount(tokens=tokens), expires_unix_nano=expires))


def made(books: Ledger, answer: Answer, instead_of: str | None = None) -> Answer:
    """What is quoted is held."""
    if answer.reservation is not None:
        books.hold(answer.reservation, instead_of=instead_of)
    return answer


def test_a_reservation_fits_into_every_budget_or_into_none() -> None:
    """The one that it does not fit is named, with what is left."""
    books = ledger(budget(TEAM, tokens=1000), budget(INSTANCE, tokens=100))
    refused = reserve(books, "a", Amount(tokens=101)).refused
    assert "hard budget of instance ai-1 (total): 101 tokens wanted, 100 tokens left of 100 tokens" == str(refused)
    assert [Account(), Account()] == [books.account(name, "") for name in ("team-total-hard", "instance-total-hard")]


def test_what_is_reserved_is_taken_until_it_is_settled() -> None:
    """And what was reserved beyond the cost is free again."""
    books = ledger(budget(TEAM, tokens=100))
    assert reserve(books, "a", Amount(tokens=60)).reservation is not None
    assert reserve(books, "b", Amount(tokens=60)).reservation is None
    books.settle("a", Amount(tokens=10))
    assert reserve(books, "b", Amount(tokens=60)).reservation is not None
    assert Account(settled=Amount(tokens=10), reserved=Amount(tokens=60)) == books.account("team-total-hard", "")


def test_a_call_that_costs_more_is_booked_as_it_was() -> None:
    """The books say what happened, and the next call is refused."""
    books = ledger(budget(TEAM, tokens=100))
    reserve(books, "a", Amount(tokens=60))
    books.settle("a", Amount(tokens=150))
    assert 150 == books.account("team-total-hard", "").settled.tokens
    assert reserve(books, "b", Amount(tokens=1)).reservation is None


def test_a_running_call_can_reserve_more_while_there_is_some() -> None:
    """The answer that there is none is what cuts a stream."""
    books = ledger(budget(TEAM, tokens=100))
    reserve(books, "a", Amount(tokens=60))
    assert top_up(books, "a", 40, expires=DAY + 2 * MINUTE).reservation is not None
    assert top_up(books, "a", 1, expires=DAY).refused is not None
    assert [(100, DAY + 2 * MINUTE)] == [(one.amount.tokens, one.expires_unix_nano) for one in books.open()]


def test_a_reservation_takes_the_place_of_another_in_one_step() -> None:
    """What that one held is free for it, where both are booked; where it does not fit, that one stands."""
    books = ledger(budget(TEAM, tokens=100), budget(INSTANCE, tokens=50))
    reserve(books, "a", Amount(tokens=60), places=[TEAM])
    refused = reserve(books, "b", Amount(tokens=51), instead_of="a").refused
    assert "hard budget of instance ai-1 (total): 51 tokens wanted, 50 tokens left of 50 tokens" == str(refused)
    assert reserve(books, "c", Amount(tokens=101), places=[TEAM], instead_of="a").refused is not None
    assert ["a"] == [one.reservation_id for one in books.open()]
    assert reserve(books, "d", Amount(tokens=50), instead_of="a").reservation is not None
    assert [("d", 50)] == [(one.reservation_id, one.amount.tokens) for one in books.open()]
    assert Account(reserved=Amount(tokens=50)) == books.account("team-total-hard", "")


def test_a_soft_budget_warns_and_refuses_nothing() -> None:
    """Both are said in one answer."""
    books = ledger(budget(TEAM, calls=1, mode="soft"))
    answers = [reserve(books, name, Amount(calls=1)) for name in ("a", "b")]
    assert [(True, []), (True, ["soft"])] == [
        (one.reservation is not None, [excess.budget.mode for excess in one.warnings]) for one in answers
    ]


def test_what_nobody_settles_is_spent_when_it_expires() -> None:
    """Whoever held it may have spent it all."""
    books = ledger(budget(TEAM, tokens=100))
    reserve(books, "a", Amount(tokens=60))
    assert [] == books.expire(DAY + MINUTE - 1)
    assert ["a"] == [one.reservation_id for one in books.expire(DAY + MINUTE)]
    assert Account(settled=Amount(tokens=60)) == books.account("team-total-hard", "")


def test_a_call_is_booked_in_the_window_in_which_it_began() -> None:
    """A new window begins with nothing spent; one that is over is dropped once nothing is open in it."""
    books = ledger(budget(TEAM, tokens=100, window="day"))
    reserve(books, "a", Amount(tokens=100))
    assert reserve(books, "b", Amount(tokens=100), at=NEXT_DAY).reservation is not None
    books.expire(NEXT_DAY)
    assert 100 == books.account("team-day-hard", "2026-11-30").reserved.tokens
    books.settle("a", Amount(tokens=5))
    books.expire(NEXT_DAY)
    assert [NOTHING, Amount(tokens=100)] == [
        books.account("team-day-hard", turn).used for turn in ("2026-11-30", "2026-12-01")
    ]


def test_the_same_reservation_twice_is_one() -> None:
    """A gateway that did not hear the answer asks again."""
    books = ledger(budget(TEAM, tokens=100))
    answers = [reserve(books, "a", Amount(tokens=60)) for _ in range(2)]
    assert answers[0].reservation == answers[1].reservation
    assert 60 == books.account("team-total-hard", "").reserved.tokens


def test_a_budget_that_changes_keeps_what_was_spent() -> None:
    """A lower ceiling refuses at once, a higher one lets on."""
    books = ledger(budget(TEAM, tokens=100))
    reserve(books, "a", Amount(tokens=60))
    books.set(budget(TEAM, tokens=50))
    assert reserve(books, "b", Amount(tokens=1)).reservation is None
    books.remove("team-total-hard")
    assert reserve(books, "c", Amount(tokens=1000)).reservation is not None


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("usd", 250_000_000, "$0.25"),
        ("usd", 1, "$0.000000001"),
        ("usd", 2_000_000_000, "$2.00"),
        ("tokens", 12, "12 tokens"),
        ("seconds", 1500, "1.5 s"),
    ],
)
def test_amounts_read_as_people_write_them(unit: str, value: int, expected: str) -> None:
    """No digit is lost."""
    assert expected == shown(unit, value)  # type: ignore[arg-type]


def test_a_cost_is_rounded_up() -> None:
    """So that a price below a billionth is no free call."""
    assert [250_000_000, 1] == [nano_usd(Decimal("0.25")), nano_usd(Decimal("0.0000000001"))]


def test_nothing_less_than_nothing_is_spent() -> None:
    """A wrong count is an error here, not a refund."""
    with pytest.raises(ValueError, match="less than nothing"):
        Amount(tokens=-1)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "move", "top_up", "settle", "expire"]),
        st.integers(0, 5),
        st.integers(0, 60),
        st.sampled_from([(TEAM,), (INSTANCE,), (TEAM, INSTANCE)]),
        st.integers(0, 90),
    ),
    max_size=40,
)


@given(steps=STEPS)
def test_no_ceiling_is_passed_by_reservations_and_a_replay_gives_the_same_books(
    steps: Sequence[tuple[str, int, int, tuple[Place, ...], int]],
) -> None:
    """Whatever is reserved, moved, topped up, settled within its reservation and left to expire, in any order."""
    budgets = [budget(TEAM, tokens=100), budget(INSTANCE, tokens=50, window="day")]
    books, now = ledger(*budgets), DAY
    journal: list[Reservation | tuple[str, Amount | Reservation]] = []
    for kind, number, tokens, places, seconds in steps:
        now += seconds * 1_000_000_000
        name, held = f"r{number}", books.held(f"r{number}")
        if kind == "reserve" and held is None:
            answer = reserve(books, name, Amount(tokens=tokens), at=now, places=places)
            journal += [answer.reservation] if answer.reservation else []
        elif kind == "move" and held is None:
            before = f"r{(number + 1) % 6}"
            answer = reserve(books, name, Amount(tokens=tokens), at=now, places=places, instead_of=before)
            journal += [(before, answer.reservation)] if answer.reservation else []
        elif kind == "top_up" and held is not None:
            answer = top_up(books, name, tokens, expires=now)
            journal += [answer.reservation] if answer.reservation else []
        elif kind == "settle" and held is not None:
            cost = Amount(tokens=min(tokens, held.amount.tokens))
            journal.append((name, cost))
            books.settle(name, cost)
        elif kind == "expire":
            journal += [(one.reservation_id, one.amount) for one in books.expire(now)]
        for one in budgets:
            limit = one.limits.tokens
            assert limit is not None
            assert books.account(one.budget_id, one.turn(now)).used.tokens <= limit
    again = ledger(*budgets)
    for entry in journal:
        before, what = ("", entry) if isinstance(entry, Reservation) else entry
        again.hold(what, instead_of=before) if isinstance(what, Reservation) else again.settle(before, what)
    turns = {(one.budget_id, one.turn(now)) for one in budgets}
    assert [books.account(*turn) for turn in turns] == [again.account(*turn) for turn in turns]
    assert list(books.open()) == list(again.open())


def test_headroom_is_the_least_of_every_hard_budget() -> None:
    """Soft budgets limit nothing; what nobody limits is None; what is spent or reserved is gone."""
    ledger = Ledger()
    team = Budget(budget_id="t", place=("team", "a"), window="total", limits=Limits(tokens=100, calls=9))
    own = Budget(budget_id="i", place=("instance", "x"), window="total", limits=Limits(tokens=60))
    soft = Budget(budget_id="s", place=("team", "a"), window="total", limits=Limits(tokens=1), mode="soft")
    ledger.set(team)
    ledger.set(own)
    ledger.set(soft)
    places: list[Place] = [("team", "a"), ("instance", "x")]
    answer = ledger.quote("r", places, Amount(tokens=20, calls=1), at_unix_nano=0, expires_unix_nano=9)
    assert answer.reservation is not None
    ledger.hold(answer.reservation)
    assert ledger.headroom(places, 0) == Limits(tokens=40, calls=8)
    assert ledger.headroom([("user", "ada")], 0) == Limits()
