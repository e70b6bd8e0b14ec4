"""The budgets of control, from another process: what cannot be asked is not granted, what is spent is told for sure."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiohttp
import orjson

from headgate_control.budgets.amount import NOTHING, Amount
from headgate_control.budgets.budget import Place
from headgate_control.budgets.ledger import Answer
from headgate_control.budgets.written import amount_body
from headgate_control.feed.budget_routes import SETTLEMENTS_MAX
from headgate_control.feed.budget_wire import answer_from
from headgate_gateways.link.address import ControlAddress
from headgate_gateways.link.unsettled import Unsettled
from headgate_processors.errors import ConfigError, PermanentError, TransientError

ANSWER_S = 2.0
SETTLE_WAIT_S = 1.0
BACKOFF_S = 0.1
BACKOFF_MAX_S = 5.0
_LOG = logging.getLogger(__name__)


class NotAskedError(TransientError):
    """Control cannot be asked at all, so it has not heard the question either."""


class RemoteBudgets:
    """A `Budgets`. For one event loop, in which it `run`s as a task to tell what was spent."""

    def __init__(
        self,
        address: ControlAddress,
        client: aiohttp.ClientSession,
        unsettled: Unsettled,
        *,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._address, self._client, self._unsettled, self._clock = address, client, unsettled, clock
        self._is_waiting = asyncio.Event()
        self._booked: dict[str, asyncio.Event] = {}
        if len(unsettled):
            self._is_waiting.set()

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
        """As the port says; the window is that of control's clock, the lifetime the one between the two times."""
        if reservation_id in self._unsettled:
            raise TransientError(f"the reservation {reservation_id!r} is being settled")
        asked = {
            "reservation_id": reservation_id,
            "places": [list(place) for place in places],
            "amount": amount_body(amount),
            "lifetime_ns": max(1, expires_unix_nano - at_unix_nano),
            **({} if instead_of is None else {"instead_of": instead_of}),
        }
        try:
            return _answer(await self._asked_again("/v1/budgets/reserve", asked))
        except NotAskedError:
            raise
        except (TransientError, asyncio.CancelledError):
            # Whether it stands is not known, and nobody will use it: it is given back.
            self._given_back(reservation_id)
            raise

    async def top_up(self, reservation_id: str, amount: Amount, *, expires_unix_nano: int) -> Answer:
        """As the port says. It is asked for once: twice might be twice as much."""
        lifetime_ns = max(1, expires_unix_nano - self._clock())
        asked = {"reservation_id": reservation_id, "amount": amount_body(amount), "lifetime_ns": lifetime_ns}
        return _answer(await self._asked("/v1/budgets/top_up", asked))

    async def settle(self, reservation_id: str, amount: Amount) -> None:
        """Written down when this returns, and mostly booked too; until control answers it is told again and again."""
        self._unsettled.add(reservation_id, amount)
        booked = self._booked.setdefault(reservation_id, asyncio.Event())
        self._is_waiting.set()
        try:
            async with asyncio.timeout(SETTLE_WAIT_S):
                await booked.wait()
        except TimeoutError:
            _LOG.info("the settlement of %s waits for control", reservation_id)
        finally:
            self._booked.pop(reservation_id, None)

    async def run(self) -> None:
        """Tell control what was spent, until cancelled."""
        wait_s = BACKOFF_S
        while True:
            await self._is_waiting.wait()
            try:
                await self._told()
                wait_s = BACKOFF_S
            except TransientError as error:
                _LOG.warning("%d settlements wait for control: %s", len(self._unsettled), error)
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come at once
                wait_s = min(wait_s * 2, BACKOFF_MAX_S)

    async def _told(self) -> None:
        """Tell the oldest that wait; what control has no reservation for any more is settled too."""
        found = self._unsettled.first(SETTLEMENTS_MAX)
        if not found:
            self._is_waiting.clear()
            return
        listed = [{"reservation_id": one, "amount": amount_body(amount)} for one, amount in found]
        await self._asked("/v1/budgets/settle", {"settlements": listed})
        self._unsettled.booked(one for one, _ in found)
        for one, _ in found:
            if one in self._booked:
                self._booked[one].set()

    def _given_back(self, reservation_id: str) -> None:
        try:
            self._unsettled.add(reservation_id, NOTHING)
            self._is_waiting.set()
        except TransientError as error:
            _LOG.warning("%s", error)

    async def _asked_again(self, path: str, body: Mapping[str, object]) -> Mapping[str, Any]:
        """Ask, and once more on a connection that control had closed meanwhile."""
        try:
            return await self._post(path, body)
        except aiohttp.ServerDisconnectedError as error:
            try:
                return await self._asked(path, body)
            except NotAskedError as again:
                # The first time it may have been heard.
                raise TransientError(str(again)) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _unreachable(error) from error

    async def _asked(self, path: str, body: Mapping[str, object]) -> Mapping[str, Any]:
        try:
            return await self._post(path, body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _unreachable(error) from error

    async def _post(self, path: str, body: Mapping[str, object]) -> Mapping[str, Any]:
        try:
            shown = self._address.headers()
        except ConfigError as error:
            raise NotAskedError(f"this gateway's token cannot be read, so nothing is granted: {error}") from error
        async with self._client.post(
            self._address.path(path),
            data=orjson.dumps(body),
            headers={**shown, "content-type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            allow_redirects=False,
        ) as answer:
            said = orjson.loads(await answer.read())
            if answer.status == 404 and path.endswith("top_up"):
                raise KeyError(body["reservation_id"])
            if answer.status != 200 or not isinstance(said, Mapping):
                told = said.get("error") if isinstance(said, Mapping) else None
                raise TransientError(f"control does not answer for budgets: {answer.status} {told}")
            return said


def _answer(said: Mapping[str, Any]) -> Answer:
    try:
        return answer_from(said)
    except (AttributeError, KeyError, TypeError, ValueError, PermanentError) as error:
        raise TransientError(f"control's answer about a budget cannot be read: {error!r}") from error


def _unreachable(error: Exception) -> TransientError:
    kind = NotAskedError if isinstance(error, aiohttp.ClientConnectorError) else TransientError
    return kind(f"control cannot be asked for budgets, so nothing is granted: {str(error) or type(error).__name__}")
