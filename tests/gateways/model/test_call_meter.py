"""The ceiling holds while calls run: what does not fit is cut, one piece late at most."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_control.budgets.amount import Amount, Limits
from headgate_control.budgets.budget import Budget, Place
from headgate_control.budgets.ledger import Answer, Ledger
from headgate_gateways.model.meter import DURATION_MS_FIRST, OUTPUT_TOKENS_STEP, Meter
from headgate_gateways.model.usage import CHARS_PER_TOKEN, Usage, UsageReader
from headgate_processors.errors import TransientError
from headgate_processors.testing.model_server import Scenario

INPUT, OUTPUT = 10, 50
BUDGET_ID = "b"
PLACES: Sequence[Place] = [("platform", "")]


@dataclass
class Books:
    """Budgets in memory, without a log."""

    limits: Limits
    ledger: Ledger = field(default_factory=Ledger)
    is_down: bool = False

    def __post_init__(self) -> None:
        self.ledger.set(Budget(budget_id=BUDGET_ID, place=PLACES[0], window="total", limits=self.limits))

    async def reserve(
        self,
        reservation_id: str,
        places: Iterable[Place],
        amount: Amount,
        *,
        at_unix_nano: int,
        expires_unix_nano: int,
        instead_of: str | None = None,
    ) -> Answer:
        """As `Budgets.reserve`."""
        answer = self.ledger.quote(
            reservation_id,
            places,
            amount,
            at_unix_nano=at_unix_nano,
            expires_unix_nano=expires_unix_nano,
            instead_of=instead_of,
        )
        return self._held(answer, instead_of)

    async def top_up(self, reservation_id: str, amount: Amount, *, expires_unix_nano: int) -> Answer:
        """As `Budgets.top_up`."""
        if self.is_down:
            raise TransientError("the books are away")
        return self._held(self.ledger.quote_more(reservation_id, amount, expires_unix_nano=expires_unix_nano))

    async def settle(self, reservation_id: str, amount: Amount) -> None:
        """As `Budgets.settle`."""
        self.ledger.settle(reservation_id, amount)

    def _held(self, answer: Answer, instead_of: str | None = None) -> Answer:
        if answer.reservation is not None:
            self.ledger.hold(answer.reservation, instead_of=instead_of)
        return answer


def price(usage: Usage, _: str | None) -> Amount:
    """Two billionths of a dollar for a token of input, ten for one of output."""
    given, answered = usage.input_tokens or 0, usage.output_tokens or 0
    return Amount(nano_usd=2 * given + 10 * answered, tokens=given + answered, calls=1)


ESTIMATE = price(Usage(input_tokens=INPUT, output_tokens=OUTPUT), None) + Amount(duration_ms=DURATION_MS_FIRST)


class Call:
    """A call that streams pieces of so many characters."""

    def __init__(self, books: Books, number: int, monotonic: Any = lambda: 0) -> None:
        self.books, self.name = books, f"call-{number}"
        self.reader = UsageReader(is_stream=True)
        self.largest = self.refused = None
        self.meter = Meter(
            books,
            price,
            reservation_id=self.name,
            reserved=ESTIMATE,
            input_tokens=INPUT,
            output_tokens=OUTPUT,
            clock=lambda: 0,
            monotonic=monotonic,
        )

    async def begun(self) -> bool:
        """Whether it was let in."""
        answer = await self.books.reserve(self.name, PLACES, ESTIMATE, at_unix_nano=0, expires_unix_nano=9)
        return answer.reservation is not None

    async def piece(self, characters: int) -> str | None:
        """Let a piece pass."""
        event = {"choices": [{"delta": {"content": "x" * characters}}]}
        self.reader.feed(b"data: " + json.dumps(event).encode() + b"\n")
        return await self.meter.passed(self.reader)

    async def ended(self) -> None:
        """Book what it has cost."""
        usage = self.reader.finished()
        cost = price(Usage(input_tokens=INPUT, output_tokens=usage.output_tokens), None)
        await self.books.settle(self.name, cost)


@settings(max_examples=200, deadline=None)
@given(
    ceiling=st.integers(0, 40_000),
    in_dollars=st.booleans(),
    streams=st.lists(st.lists(st.integers(0, 40_000), max_size=12), min_size=1, max_size=5),
    turns=st.randoms(use_true_random=False),
)
def test_a_ceiling_is_passed_by_a_piece_a_call_at_most(
    ceiling: int, in_dollars: bool, streams: list[list[int]], turns: Any
) -> None:
    """Whatever the pieces are, and however the calls take turns."""
    limits = Limits(nano_usd=ceiling) if in_dollars else Limits(tokens=ceiling)
    books = Books(limits)

    async def run() -> int:
        late = 0
        calls = [(Call(books, number), list(pieces)) for number, pieces in enumerate(streams)]
        running = [(call, pieces) for call, pieces in calls if await call.begun()]
        while running:
            call, pieces = turns.choice(running)
            characters = pieces.pop(0) if pieces else None
            if characters is not None and await call.piece(characters) is not None:
                late += 1 + -(-characters // CHARS_PER_TOKEN)
                pieces.clear()
            if not pieces:
                await call.ended()
                running.remove((call, pieces))
        return late

    late = asyncio.run(run())
    settled = books.ledger.account(BUDGET_ID, "").settled
    used, rate = (settled.nano_usd, 10) if in_dollars else (settled.tokens, 1)
    assert used <= ceiling + rate * late


def test_a_call_that_is_within_its_reservation_asks_for_nothing() -> None:
    """So most calls cost one entry in the books and one at their end."""
    call = Call(Books(Limits(tokens=60)), 1)
    assert asyncio.run(_through(call, [CHARS_PER_TOKEN * OUTPUT])) == [None]
    assert ESTIMATE == call.meter.reserved


def test_a_call_that_grows_reserves_more_while_there_is_room() -> None:
    """A step at once, so that it does not ask at every piece."""
    call = Call(Books(Limits(tokens=1_000_000)), 1)
    assert asyncio.run(_through(call, [CHARS_PER_TOKEN * (OUTPUT + 1)])) == [None]
    assert INPUT + OUTPUT + 1 + OUTPUT_TOKENS_STEP == call.meter.reserved.tokens


def test_a_call_takes_the_last_token_and_no_more() -> None:
    """Where no step fits, what is needed may."""
    call = Call(Books(Limits(tokens=100)), 1)
    first, last, over = asyncio.run(_through(call, [CHARS_PER_TOKEN * 60, CHARS_PER_TOKEN * 30, CHARS_PER_TOKEN]))
    assert (None, None, True) == (first, last, over is not None and "hard budget of platform" in over)


def test_an_input_that_was_estimated_too_low_is_reserved() -> None:
    """As soon as the provider tells it."""
    call = Call(Books(Limits(tokens=80)), 1)

    async def run(told: int) -> str | None:
        assert await call.begun()
        event = {"type": "message_start", "message": {"usage": {"input_tokens": told, "output_tokens": 1}}}
        call.reader.feed(b"data: " + json.dumps(event).encode() + b"\n")
        return await call.meter.passed(call.reader)

    assert asyncio.run(run(30)) is None
    assert 30 + OUTPUT == call.meter.reserved.tokens


def test_books_that_are_away_end_what_needs_more() -> None:
    """What cannot be reserved is not spent."""
    books = Books(Limits())
    call = Call(books, 1)
    books.is_down = True
    assert ["the books are away"] == asyncio.run(_through(call, [CHARS_PER_TOKEN * 60]))


def test_a_reservation_that_is_over_ends_its_call() -> None:
    """It was booked in full, and nothing more may be spent on it."""
    call = Call(Books(Limits()), 1)
    assert "over" in (asyncio.run(call.piece(CHARS_PER_TOKEN * 60)) or "")


def test_time_is_reserved_as_it_passes() -> None:
    """First a second, then more at once, and at its end the call is over."""
    now = [0]
    call = Call(Books(Limits(duration_ms=6_000)), 1, monotonic=lambda: now[0])

    async def run() -> list[str | None]:
        assert await call.begun()
        said = []
        for _ in range(4):
            now[0] += int(call.meter.due_s() * 1_000_000_000)
            said.append(await call.meter.waited())
        return said

    *granted, over = asyncio.run(run())
    assert [None] * 3 == granted
    assert (True, 6_000, 6_000) == (over is not None, call.meter.reserved.duration_ms, now[0] // 1_000_000)


async def _through(call: Call, pieces: list[int]) -> list[str | None]:
    assert await call.begun()
    return [await call.piece(characters) for characters in pieces]


@pytest.mark.parametrize("api", ["chat", "messages"])
def test_a_stream_that_outgrows_its_budget_is_cut_by_the_gateway(site: Any, api: str) -> None:
    """As by a stop: the agent hears why, the provider sees its client go, and what passed is paid."""
    words = 60_000
    scenario = {
        "task": "x",
        "turns": [{"say": "word " * words}],
        "usage": {"input_tokens": 10, "output_tokens": 10 * words},
        "between_events_s": 0.0001,
    }
    site.server.play(Scenario.model_validate(scenario))
    site.limit(tokens=20_000)
    body = {"max_tokens": 16_000} if api == "messages" else {}

    async def steps(agent: Any) -> bytes:
        async with getattr(agent, api)(stream=True, **body) as response:
            return bytes(await response.read())

    last = json.loads(site.run(steps).decode().strip().splitlines()[-1].removeprefix("data: "))
    assert "budget" == last["error"]["code"]
    used = site.owner.account(site.budget(), 0)
    assert Amount() == used.reserved
    assert 16_000 < used.settled.tokens <= 20_000 + 100
    (span,) = site.told()
    assert ("budget", "counted") == (span.attributes["error.type"], span.attributes["headgate.usage_source"])


def test_a_call_that_stalls_ends_with_its_time(site: Any) -> None:
    """Nobody waits for a provider beyond what the budget has of seconds."""
    scenario = {"task": "x", "turns": [{"say": "word"}], "faults": [{"from_request": 1, "delay_s": 60}]}
    site.server.play(Scenario.model_validate(scenario))
    site.limit(duration_ms=1_000)

    async def steps(agent: Any) -> Any:
        async with agent.chat() as response:
            return response.status, (await response.json())["error"]["code"]

    assert (403, "budget") == site.run(steps)
