"""What control does again and again, each as a task of its own, so that nothing that is slow makes another late."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate_console.control.holding import Held
from headgate_console.control.parts import Parts
from headgate_console.control.place import WRITER
from headgate_console.control.records import ControlRecords
from headgate_control.audit.heads import anchor_logs
from headgate_control.feed.messages import STALE_AFTER_S
from headgate_control.identity.foreign_tokens import ForeignTokens
from headgate_control.room import Room
from headgate_processors.errors import StoreError, TransientError

if TYPE_CHECKING:
    from headgate_console.settings import Settings

TICK_S = 1.0
ANCHOR_EVERY_S = 60.0
SAID_AGAIN_S = 60.0
PRUNE_EVERY_S = 86_400.0
PRUNE_FIRST_S = 600.0
PRUNE_S_MAX = 3_600.0
_NS_PER_S = 1_000_000_000
_LOG = logging.getLogger("control")


@dataclass(slots=True, kw_only=True)
class Round:
    """One thing that is done every so often, the first time after `first_s` where that is given.

    `is_last` says that it is done once more when control ends.
    """

    what: str
    work: Callable[[], Awaitable[None]]
    every_s: float = TICK_S
    first_s: float | None = None
    is_last: bool = True
    _said: str | None = None
    _said_s: float = field(default_factory=time.monotonic)

    async def run(self, over: asyncio.Event) -> None:
        """Do it until it is over. What fails is tried again.

        Raises:
            StoreError: going on would be wrong.
        """
        wait_s = self.every_s if self.first_s is None else self.first_s
        while True:
            is_over, wait_s = await _is_set(over, wait_s), self.every_s
            if is_over and not self.is_last:
                return
            try:
                await self.work()
                self._well()
            except (TransientError, OSError) as error:
                self._ill(str(error))
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - the edge of a loop that must not end
                _LOG.exception("%s: it is tried again", self.what)
            if is_over:
                return

    def _ill(self, problem: str) -> None:
        """Say what is wrong when that is new, and then now and again."""
        now_s = time.monotonic()
        if problem != self._said or now_s - self._said_s > SAID_AGAIN_S:
            _LOG.error("%s: %s", self.what, problem)
            self._said, self._said_s = problem, now_s

    def _well(self) -> None:
        if self._said is not None:
            _LOG.warning("%s: it works again", self.what)
            self._said = None


async def rounds(
    settings: "Settings",
    parts: Parts,
    foreign: ForeignTokens | None,
    stopping: threading.Event,
    more: Iterable[Round] = (),
) -> None:
    """Do all of them, and `more`, until `stopping` is set.

    Raises:
        StoreError: the store is another one than was followed so far, or another control has it.
    """
    over, every = asyncio.Event(), [*_rounds(parts), _pruning(settings), *more]
    if foreign is not None:
        every.append(_issuers(foreign))
    with (
        ThreadPoolExecutor(1, thread_name_prefix="headgate-follower") as follower,
        ThreadPoolExecutor(1, thread_name_prefix="headgate-hold") as holder,
    ):
        every += [_following(parts.room, follower), _holding(parts.held, holder), _watching(parts.room)]
        try:
            async with asyncio.TaskGroup() as group:
                for one in every:
                    group.create_task(one.run(over))
                group.create_task(_until(stopping, over))
        except* StoreError as errors:
            raise errors.exceptions[0] from None


def _rounds(parts: Parts) -> list[Round]:
    room, records = parts.room, parts.records

    async def expire() -> None:
        room.owner.expire(time.time_ns())

    async def tell() -> None:
        _tell_budgets(room, records)
        await asyncio.to_thread(records.send, room.store)

    async def anchor() -> None:
        logs = [parts.decisions, room.owner.log]
        await asyncio.to_thread(anchor_logs, room.store, logs, author=WRITER)

    async def tell_refused() -> None:
        await asyncio.to_thread(parts.refusals.tell, room.store)

    async def tell_policies() -> None:
        await asyncio.to_thread(parts.policies.tell)

    return [
        Round(what="what was refused is not in the journal", work=tell_refused),
        Round(what="the policies that are decided by are not in the journal", work=tell_policies),
        Round(what="reservations that nobody settled are not booked", work=expire),
        Round(what="the store is not told of control's records", work=tell),
        Round(what="the heads of the logs are not in the journal", work=anchor, every_s=ANCHOR_EVERY_S),
    ]


def _following(room: Room, follower: ThreadPoolExecutor) -> Round:
    """In a thread that nobody else has: how old the state is says whether calls may be allowed."""

    async def follow() -> None:
        await asyncio.get_running_loop().run_in_executor(follower, room.state.refresh)

    return Round(what="control state cannot be read", work=follow, first_s=0.0)


def _holding(held: Held, holder: ThreadPoolExecutor) -> Round:
    """In a thread of its own too: a database that hangs is one that another control may get."""

    async def check() -> None:
        await asyncio.get_running_loop().run_in_executor(holder, held.check)

    return Round(what="whether another control has the database is not known", work=check, is_last=False)


def _watching(room: Room) -> Round:
    """Says so when what is decided by is too old, also where nothing has failed yet but hangs."""

    async def watch() -> None:
        if room.state.age_ns() > STALE_AFTER_S * _NS_PER_S:
            raise TransientError(f"control state was not read to its end for {STALE_AFTER_S:g} s")
        if room.held_age_ns() > STALE_AFTER_S * _NS_PER_S:
            raise TransientError(f"it is not known for {STALE_AFTER_S:g} s whether another control has the database")

    return Round(what="calls are denied as stale", work=watch, is_last=False)


def _issuers(foreign: ForeignTokens) -> Round:
    async def refresh() -> None:
        if foreign.is_due():
            for problem in await asyncio.to_thread(foreign.refresh):
                _LOG.error("issuers: %s", problem)

    return Round(what="keys of issuers are not fetched", work=refresh, is_last=False)


def _pruning(settings: "Settings") -> Round:
    """In a process that gives way, once a day: it asks the store what it has."""

    async def prune() -> None:
        command = [sys.executable, "-P", "-m", "headgate_console.serve.prune"]
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        told = json.dumps(settings.model_dump(mode="json")) + "\n"
        try:
            async with asyncio.timeout(PRUNE_S_MAX):
                _, said = await process.communicate(told.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if said:
            raise TransientError(said.decode(errors="replace").strip())

    return Round(
        what="old records of control stay", work=prune, every_s=PRUNE_EVERY_S, first_s=PRUNE_FIRST_S, is_last=False
    )


def _tell_budgets(room: Room, records: ControlRecords) -> None:
    """Tell of every budget."""
    now = room.clock()
    for budget in room.now.budgets.values():
        records.budget(budget, room.owner.account(budget, now), now)


async def _until(stopping: threading.Event, over: asyncio.Event) -> None:
    while not await asyncio.to_thread(stopping.wait, TICK_S):
        continue
    over.set()


async def _is_set(event: asyncio.Event, wait_s: float) -> bool:
    """Whether it is set, at the latest after so long."""
    try:
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()
