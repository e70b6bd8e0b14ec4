"""Gateway and control in processes of their own: one ends another's calls, and neither's death costs money unseen."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headgate_control.budgets.amount import Limits
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.kinds import BUDGET, write_budget
from headgate_control.state import ControlState
from headgate_control.store.opening import open_sqlite
from headgate_control.store.record import Change
from headgate_processors.testing.model_server import Scenario
from headgate_processors.testing.ports import free_port
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

HERE = Path(__file__).resolve().parent
CALLERS = 32
INPUT_TOKENS, WORDS = 100, 20
CALL_TOKENS = INPUT_TOKENS + WORDS
CEILING_TOKENS = 20_000
HOUR_NS = 3_600_000_000_000


class Part:
    """A process that can be killed and started again, the same way."""

    def __init__(self, *command: str) -> None:
        self._command = [sys.executable, *command]
        self._process: subprocess.Popen[str] | None = None
        self.kills = 0

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("ready")

    def kill(self) -> None:
        """End it without a word."""
        assert self._process is not None
        self._process.kill()
        self._gone()
        self.kills += 1

    def end(self) -> None:
        """End it in good order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._gone()

    def _gone(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.wait(timeout=PATIENCE_S)
        self._process.stdout.close()
        self._process = None


class Fleet:
    """Control, a gateway and a provider, and the agent's key."""

    def __init__(self, site: Any, provider: Any, folder: Path) -> None:
        self.key, self.control_folder, self.gateway_folder = site.key, site.folder, folder / "gateway"
        self.port = free_port()
        control = f"http://127.0.0.1:{site.port}"
        self.control = Part(str(HERE / "control_alone.py"), str(site.folder), str(site.port))
        self.gateway = Part(
            str(HERE / "gateway_alone.py"), str(self.gateway_folder), str(self.port), control, provider.url
        )

    @property
    def address(self) -> str:
        """Where agents call."""
        return f"http://127.0.0.1:{self.port}/openai/v1/chat/completions"

    async def call(self, client: aiohttp.ClientSession) -> str:
        """One call: `ok`, the code that it was denied by, or `broken`."""
        body = {
            "model": "gpt-5-mini",
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 2 * WORDS,
            "messages": [{"role": "user", "content": "x" * 600}],
        }
        try:
            async with client.post(self.address, json=body) as response:
                if response.status != 200:
                    return str((await response.json())["error"]["code"])
                await response.read()
                return "ok"
        except (aiohttp.ClientError, OSError, ValueError):
            return "broken"


@pytest.fixture
def fleet(site: Any, provider: Any, tmp_path: Path) -> Iterator[Fleet]:
    """Everything started; the agent may spend `CEILING_TOKENS`."""
    budget = next(iter(site.state.now.budgets.values()))
    limited = replace(budget, limits=Limits(tokens=CEILING_TOKENS))
    site.store.change([Change(kind=BUDGET, id=budget.budget_id, body=write_budget(limited))], author="a", action="b")
    provider.play(
        Scenario.model_validate(
            {
                "task": "x",
                "turns": [{"say": "word " * WORDS}] * 2,
                "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": WORDS},
                "between_events_s": 0.03,
            }
        )
    )
    site.close()
    made = Fleet(site, provider, tmp_path)
    made.control.start()
    made.gateway.start()
    yield made
    made.gateway.end()
    made.control.end()


@pytest.mark.e2e
def test_a_gateway_alone_passes_calls_and_ends_in_good_order(fleet: Fleet) -> None:
    """What was spent is booked when both have ended; nothing is left reserved."""

    async def steps() -> list[str]:
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {fleet.key}"}) as client:
            async with asyncio.timeout(PATIENCE_S):
                while (found := await fleet.call(client)) != "ok":  # noqa: ASYNC110 - another process becomes ready
                    await asyncio.sleep(0.05)
            return [found, *[await fleet.call(client) for _ in range(2)]]

    assert ["ok"] * 3 == asyncio.run(steps())
    fleet.gateway.end()
    fleet.control.end()
    settled, late = booked(fleet)
    assert (3 * CALL_TOKENS, []) == (settled, late)


@pytest.mark.slow
@pytest.mark.e2e
def test_32_callers_on_one_budget_never_pass_its_ceiling_whatever_is_killed(fleet: Fleet, provider: Any) -> None:
    """After it all the books hold at least what the provider saw, and above it only what was open at a kill."""
    chance = random.Random(5)

    async def caller(until_ns: int) -> set[str]:
        found = set()
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {fleet.key}"}) as client:
            while time.monotonic_ns() < until_ns:
                found.add(await fleet.call(client))
                await asyncio.sleep(chance.uniform(0.01, 0.1))
        return found

    async def killing() -> None:
        for part in (fleet.gateway, fleet.control, fleet.gateway, fleet.control, fleet.gateway):
            await asyncio.sleep(chance.uniform(0.8, 2.0))
            part.kill()
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            await asyncio.to_thread(part.start)

    async def steps() -> set[str]:
        until_ns = time.monotonic_ns() + 20_000_000_000
        callers = [asyncio.create_task(caller(until_ns)) for _ in range(CALLERS)]
        await killing()
        return set().union(*await asyncio.gather(*callers))

    outcomes = asyncio.run(steps())
    wait_until(lambda: (fleet.gateway_folder / "unsettled.jsonl").read_bytes() == b"")
    fleet.gateway.end()
    fleet.control.end()
    settled, late = booked(fleet)
    asked = sum(1 for one in provider.journal.exchanges() if one.outcome != "refused")
    open_at_kills = sum(one.amount.tokens for one in late)
    assert {"ok", "broken"} <= outcomes
    assert settled + open_at_kills <= CEILING_TOKENS
    assert len(late) <= CALLERS * fleet.gateway.kills
    assert settled <= asked * CALL_TOKENS <= settled + open_at_kills


def booked(fleet: Fleet) -> tuple[int, list[Any]]:
    """What the books hold as settled, and what expires because nobody settled it; both processes have ended."""
    with closing(open_sqlite(fleet.control_folder / "control.db", writer="control-1")) as store:
        budget = next(iter(ControlState(store).now.budgets.values()))
    with closing(BudgetOwner.open(fleet.control_folder / "budgets", [budget])) as owner:
        settled = owner.account(budget, time.time_ns()).settled.tokens
        late = owner.expire(time.time_ns() + HOUR_NS)
    return settled, late
