"""Budgets of a gateway elsewhere: nothing is granted that control has not granted, nothing spent is forgotten."""

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from headgate_control.budgets.amount import NOTHING, Amount
from headgate_gateways.link.address import ControlAddress
from headgate_gateways.link.unsettled import Unsettled
from headgate_processors.errors import ConfigError, TransientError
from headgate_processors.testing.waiting import until

TOKENS = Amount(tokens=10)
MINUTE_NS = 60_000_000_000


def account(site: Any) -> Any:
    """What the books hold of the instance."""
    return site.owner.account(next(iter(site.state.now.budgets.values())), 0)


async def reserved(site: Any, gateway: Any, name: str, amount: Amount = TOKENS, **more: str) -> Any:
    """A reservation of the site's instance."""
    return await gateway.budgets.reserve(
        name, [("instance", site.instance)], amount, at_unix_nano=0, expires_unix_nano=MINUTE_NS, **more
    )


def test_reserve_top_up_and_settle_are_those_of_control(site: Any, gateway: Any) -> None:
    """And what does not fit is refused in control's words."""

    async def steps() -> list[Any]:
        async with site.served(), gateway.linked():
            first = await reserved(site, gateway, "dec-1")
            more = await gateway.budgets.top_up("dec-1", TOKENS, expires_unix_nano=MINUTE_NS)
            refused = await reserved(site, gateway, "dec-2", Amount(tokens=99_999))
            await gateway.budgets.settle("dec-1", Amount(tokens=15))
            with pytest.raises(KeyError):
                await gateway.budgets.top_up("dec-1", TOKENS, expires_unix_nano=MINUTE_NS)
            return [first, more, refused]

    first, more, refused = site.run(steps)
    assert (10, 20) == (first.reservation.amount.tokens, more.reservation.amount.tokens)
    assert "100000 tokens" in str(refused.refused)
    assert (15, 0) == (account(site).settled.tokens, account(site).reserved.tokens)


def test_a_reservation_takes_the_place_of_another_one_of_control(site: Any, gateway: Any) -> None:
    """All that there is may be in both; what is not granted leaves the first one there."""
    everything = Amount(tokens=100_000)

    async def steps() -> list[bool]:
        async with site.served(), gateway.linked():
            await reserved(site, gateway, "dec-1", everything)
            found = [
                await reserved(site, gateway, name, everything + more, instead_of="dec-1")
                for name, more in (("dec-2", TOKENS), ("dec-3", NOTHING))
            ]
            await gateway.budgets.settle("dec-3", TOKENS)
            await gateway.budgets.settle("dec-1", NOTHING)
            return [one.reservation is not None for one in found]

    assert [False, True] == site.run(steps)
    assert (10, 0) == (account(site).settled.tokens, account(site).reserved.tokens)


def test_nothing_is_granted_while_control_is_down_and_what_was_spent_is_told_later(site: Any, another: Any) -> None:
    """Also by the process that comes after; what control cannot have heard need not be given back."""

    async def steps() -> int:
        gateway = another("remote")
        async with gateway.linked():
            async with site.served():
                await reserved(site, gateway, "dec-1")
            with pytest.raises(TransientError):
                await reserved(site, gateway, "dec-2")
            with pytest.raises(TransientError):
                await gateway.budgets.top_up("dec-1", TOKENS, expires_unix_nano=MINUTE_NS)
            waiting = len(gateway.budgets._unsettled)
            with pytest.raises(TransientError):
                await reserved(site, gateway, "dec-3")
            assert waiting == len(gateway.budgets._unsettled)
            await gateway.budgets.settle("dec-1", Amount(tokens=7))
        again = another("remote")
        async with again.linked(), site.served():
            await until(lambda: account(site).settled.tokens == 7)
            await until(lambda: not len(again.budgets._unsettled))
            return int(account(site).reserved.tokens)

    assert 0 == site.run(steps)


def test_a_reservation_whose_answer_was_not_heard_is_given_back(site: Any, gateway: Any) -> None:
    """Control has granted it, and nobody will use it."""

    async def deaf(http: web.Request) -> web.Response:
        body = await http.json()
        site.owner.reserve(
            body["reservation_id"],
            [("instance", site.instance)],
            TOKENS,
            at_unix_nano=0,
            expires_unix_nano=MINUTE_NS,
        )
        return web.Response(status=500, text="{}")

    site.routes = [web.post("/v1/budgets/reserve", deaf)]

    async def steps() -> list[int]:
        async with site.served(), gateway.linked():
            with pytest.raises(TransientError):
                await reserved(site, gateway, "dec-1")
            await until(lambda: not len(gateway.budgets._unsettled))
            return [account(site).settled.tokens, account(site).reserved.tokens]

    assert [0, 0] == site.run(steps)


def test_a_caller_that_leaves_while_it_waits_leaves_nothing_reserved(site: Any, gateway: Any) -> None:
    """Its reservation is given back like one that was not heard of."""
    asked = asyncio.Event()

    async def slow(http: web.Request) -> web.Response:
        await http.read()
        asked.set()
        await asyncio.sleep(30)
        return web.Response(text="{}")

    site.routes = [web.post("/v1/budgets/reserve", slow)]

    async def steps() -> bool:
        async with site.served(), gateway.linked():
            call = asyncio.ensure_future(reserved(site, gateway, "dec-1"))
            await asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            return "dec-1" in gateway.budgets._unsettled

    assert site.run(steps)


@pytest.mark.parametrize("is_back", [True, False])
def test_a_connection_that_control_had_closed_meanwhile_is_no_reason_to_deny(
    site: Any, gateway: Any, is_back: bool
) -> None:
    """It is asked once more; the same id is the same reservation. If that fails too, it may have been heard before."""
    asked: list[str] = []

    async def gone(http: web.Request) -> web.Response:
        asked.append((await http.json())["reservation_id"])
        assert http.transport is not None
        if len(asked) == 1 or not is_back:
            http.transport.close()
        answer = {"reservation": None, "refused": None, "warnings": []}
        return web.json_response(answer)

    site.routes = [web.post("/v1/budgets/reserve", gone)]

    async def steps() -> bool:
        async with site.served(), gateway.linked():
            if is_back:
                return (await reserved(site, gateway, "dec-1")).reservation is None
            with pytest.raises(TransientError):
                await reserved(site, gateway, "dec-1")
            await until(lambda: not len(gateway.budgets._unsettled))
            return True

    assert site.run(steps)
    assert ["dec-1"] * 2 == asked


def test_a_token_that_cannot_be_read_grants_nothing_and_ends_nothing(site: Any, gateway: Any) -> None:
    """What was spent meanwhile is told when it can be read again."""
    is_readable = True

    def token() -> str:
        if not is_readable:
            raise ConfigError("the file is gone")
        return "gateway"

    async def steps() -> int:
        nonlocal is_readable
        async with site.served(), gateway.linked():
            gateway.budgets._address = ControlAddress(url=site.url, token=token)
            await reserved(site, gateway, "dec-1")
            is_readable = False
            with pytest.raises(TransientError):
                await reserved(site, gateway, "dec-2")
            await gateway.budgets.settle("dec-1", Amount(tokens=7))
            is_readable = True
            await until(lambda: not len(gateway.budgets._unsettled))
            return int(account(site).settled.tokens)

    assert 7 == site.run(steps)


def test_a_reservation_that_is_being_settled_is_not_made_again(site: Any, gateway: Any) -> None:
    """What was given back would take the new one with it."""

    async def steps() -> None:
        async with gateway.linked():
            gateway.budgets._unsettled.add("dec-1", TOKENS)
            with pytest.raises(TransientError):
                await reserved(site, gateway, "dec-1")

    site.run(steps)


@pytest.mark.parametrize("said", ["[]", "{}", "no", '{"reservation": 1, "refused": null}', '{"reservation": {}}'])
def test_an_answer_that_is_none_grants_nothing(site: Any, gateway: Any, said: str) -> None:
    """Whatever stands at control's address."""

    async def strange(http: web.Request) -> web.Response:
        return web.Response(text=said, content_type="application/json")

    site.routes = [web.post("/v1/budgets/reserve", strange)]

    async def steps() -> None:
        async with site.served(), gateway.linked():
            with pytest.raises(TransientError):
                await reserved(site, gateway, "dec-1")

    site.run(steps)


def test_what_waits_survives_and_a_line_that_was_cut_short_does_not(tmp_path: Path) -> None:
    """The file is its owner's alone."""
    path = tmp_path / "unsettled.jsonl"
    with closing(Unsettled.open(path)) as first:
        first.add("a", TOKENS)
        first.add("a", NOTHING)
        first.add("b", NOTHING)
    with path.open("ab") as file:
        file.write(b'{"reservation_id": "c", "amou')
    with closing(Unsettled.open(path)) as second:
        assert [("a", TOKENS), ("b", NOTHING)] == second.first(9)
        second.booked(["a"])
        second.booked(["b"])
    assert b"" == path.read_bytes()
    assert 0o600 == path.stat().st_mode & 0o777


def test_what_waits_is_bounded_and_its_file_too(tmp_path: Path) -> None:
    """One too many is left to expire; lines of what is booked are dropped."""
    path = tmp_path / "unsettled.jsonl"
    with closing(Unsettled.open(path, waiting_max=2)) as unsettled:
        unsettled.add("stays", TOKENS)
        unsettled.add("full", TOKENS)
        with pytest.raises(TransientError):
            unsettled.add("over", TOKENS)
        unsettled.booked(["full"])
        for number in range(3_000):
            unsettled.add(f"n{number}", TOKENS)
            unsettled.booked([f"n{number}"])
    lines = path.read_text().splitlines()
    assert len(lines) < 1_100
    assert "stays" == json.loads(lines[0])["reservation_id"]
