"""Clocks that jump: the receiver's own, by years and in both directions."""

import random
from pathlib import Path

import pytest

from headgate_analytics import Deriver, open_views
from headgate_processors.dialects import Normaliser
from headgate_processors.enrich.price import PriceBook
from headgate_processors.otlp import decode
from headgate_processors.otlp.port import Signal
from headgate_processors.pipeline import Pipeline
from headgate_processors.receiver.port import CLIENT
from headgate_processors.store import Store, StoreConfig, compact
from headgate_processors.testing.otlp import START_UNIX_NANO, to_protobuf, traces_request
from headgate_processors.workers import LocalPreparer

YEAR_NS = 365 * 24 * 3600 * 1_000_000_000
REQUESTS = 24
SPANS = 3


class JumpingClock:
    """A clock that is somewhere else within three years whenever it is read."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def __call__(self) -> int:
        """Nanoseconds since the epoch, anywhere."""
        return START_UNIX_NANO + self._chance.randrange(-3 * YEAR_NS, 3 * YEAR_NS)


def request(number: int) -> bytes:
    """A request with spans of its own."""
    spans = [
        {
            "trace_id": f"{number + 1:032x}",
            "span_id": f"{place + 1:016x}",
            "name": f"{number}-{place}",
            "attributes": {"gen_ai.operation.name": "chat", "gen_ai.conversation.id": f"{number}"},
        }
        for place in range(SPANS)
    ]
    return to_protobuf(traces_request(spans, resource={"service.name": "jumping"}))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_clock_that_jumps_loses_and_doubles_nothing(tmp_path: Path, normaliser: Normaliser, seed: int) -> None:
    """Appends, seals, restarts, compactions and derivations between jumps; each request is sent twice."""
    clock, chance, folder = JumpingClock(seed), random.Random(seed), tmp_path / "store"
    deriver = Deriver(folder, registry=normaliser.registry, prices=PriceBook.load())
    numbers = [*range(REQUESTS), *range(REQUESTS)]
    chance.shuffle(numbers)
    while numbers:
        with Store.open(folder, config=StoreConfig(seal_interval_s=60), clock=clock) as store:
            preparer = LocalPreparer(decoder=decode, normaliser=normaliser)
            pipeline = Pipeline(preparer, store, lambda *_: None, clock=clock)
            for number in [numbers.pop() for _ in range(min(8, len(numbers)))]:
                pipeline(request(number), signal=Signal.TRACES, encoding="protobuf", sender=CLIENT)
            store.seal()
        compact(folder, clock=clock)
        deriver.run()
    expected = sorted(f"{number}-{place}" for number in range(REQUESTS) for place in range(SPANS))
    with open_views(folder) as connection:
        assert expected == sorted(name for (name,) in connection.sql("SELECT name FROM spans").fetchall())
        found = connection.sql("SELECT count(*), sum(model_call_count) FROM sessions").fetchall()
        assert [(REQUESTS, REQUESTS * SPANS)] == found
