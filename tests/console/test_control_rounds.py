"""What control does again and again: each by itself, whatever becomes of the others."""

import asyncio
import logging
import socket
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from headgate_console.control.parts import open_parts
from headgate_console.control.rounds import Round, rounds
from headgate_console.settings import Settings
from headgate_console.settings.definition import ReceiverSettings
from headgate_control.identity.foreign_tokens import ForeignTokens
from headgate_control.identity.issuer_keys import FETCH_TIMEOUT_S
from headgate_control.identity.issuers_file import ClaimNames, ForeignIssuer
from headgate_control.stops.commands import stop
from headgate_control.stops.stop import parse_key
from headgate_control.store.opening import open_sqlite
from headgate_processors.errors import StoreError, TransientError
from headgate_processors.testing.waiting import until


def run(one: Round, *, times: int, made: list[int]) -> None:
    """Do it until it was tried so often, and once more at its end."""

    async def steps() -> None:
        over = asyncio.Event()
        task = asyncio.create_task(one.run(over))
        await until(lambda: len(made) >= times or task.done())
        over.set()
        await task

    asyncio.run(steps())


def test_what_fails_is_tried_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Until it works, which is said too."""
    made: list[int] = []

    async def work() -> None:
        made.append(1)
        if len(made) < 4:
            raise TransientError("the store is away")

    with caplog.at_level(logging.WARNING, "control"):
        run(Round(what="nothing is told", work=work, every_s=0.001), times=5, made=made)
    assert ["nothing is told: the store is away", "nothing is told: it works again"] == caplog.messages


@pytest.mark.parametrize(("is_last", "more"), [(True, 1), (False, 0)])
def test_some_things_are_done_once_more_at_the_end(is_last: bool, more: int) -> None:
    """And those that may be slow are not."""
    made: list[int] = []

    async def work() -> None:
        made.append(1)

    run(Round(what="it", work=work, every_s=60, first_s=0.001, is_last=is_last), times=1, made=made)
    assert 1 + more == len(made)


def test_what_must_not_go_on_ends_it() -> None:
    """Such as a store that is another one by now."""

    async def work() -> None:
        raise StoreError("another one")

    with pytest.raises(StoreError, match="another one"):
        run(Round(what="it", work=work, every_s=0.001), times=1, made=[])


@pytest.mark.slow
def test_an_issuer_that_does_not_answer_makes_nothing_late(tmp_path: Path) -> None:
    """What another process stops is heard of while its keys are waited for, and so is the end."""
    settings = Settings(data=tmp_path, receiver=ReceiverSettings(platform="127.0.0.1:1"))
    with closing(socket.create_server(("127.0.0.1", 0))) as silent, open_parts(settings) as parts:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/keys"
        foreign = ForeignTokens(
            [ForeignIssuer(issuer="https://i", audience="a", jwks_uri=address, claims=ClaimNames(instance="i"))]
        )
        stopping = threading.Event()

        async def steps() -> tuple[float, float]:
            task = asyncio.create_task(rounds(settings, parts, foreign, stopping))
            held, _ = await asyncio.to_thread(silent.accept)
            began_s = time.monotonic()
            with closing(open_sqlite(tmp_path / "control" / "control.sqlite", writer="another")) as store:
                stop(store, parse_key("team", "a"), mode="stop", author="ada", reason="it loops")
            await until(lambda: parts.room.now.snapshot.stops.epoch == 1)
            heard_s, age_s = time.monotonic() - began_s, parts.room.state.age_ns() / 1e9
            stopping.set()
            await task
            held.close()
            return heard_s, age_s

        heard_s, age_s = asyncio.run(steps())
    assert (True, True) == (heard_s < FETCH_TIMEOUT_S - 1, age_s < FETCH_TIMEOUT_S - 1)
