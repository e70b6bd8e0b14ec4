"""The link: reads control's feed for as long as the gateway runs, and knows when it has not heard it for too long."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from headgate_control.feed.messages import STALE_AFTER_S, VERSION, VERSION_OLDEST
from headgate_control.state import State
from headgate_gateways.link.acknowledging import Acknowledging, Cut
from headgate_gateways.link.address import CONNECT_S, ControlAddress
from headgate_gateways.link.frames import Frame, FrameReader
from headgate_gateways.link.kept import content_of, keep, kept
from headgate_gateways.link.replica import UnreadableError
from headgate_processors.errors import HeadgateError, PermanentError, TransientError

_LOG = logging.getLogger(__name__)
_NS_PER_S = 1_000_000_000
_TELL_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConfig:
    """`point`: this gateway's own name. `snapshot`: the file that it starts from when control is down.

    A feed that is silent for `silence_s` is read anew, `backoff_s` to `backoff_max_s` later.
    """

    point: str
    snapshot: Path
    stale_after_s: float = STALE_AFTER_S
    silence_s: float = STALE_AFTER_S
    backoff_s: float = 0.1
    backoff_max_s: float = 5.0
    keep_every_s: float = 0.5


class RefusedError(PermanentError):
    """Control does not let this gateway read, and says why."""


class ControlLink:
    """Keeps `state` current. For one event loop; `run` it as a task."""

    def __init__(
        self,
        config: LinkConfig,
        address: ControlAddress,
        client: aiohttp.ClientSession,
        cut: Cut,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._config, self._address, self._client, self._clock = config, address, client, clock
        self._replica = kept(config.snapshot)
        self._process = secrets.token_hex(8)
        self._version = VERSION
        self._beaten_ns: int | None = None
        self._refused: str | None = None
        self._blind: str | None = None
        self._is_changed, self._is_heard = asyncio.Event(), asyncio.Event()
        self._acknowledging = Acknowledging(cut, self._tell, point=config.point)

    @property
    def state(self) -> State:
        """What is known of control."""
        return self._replica.state

    @property
    def problem(self) -> str | None:
        """Why this gateway denies what it might allow, in a sentence; None where nothing is wrong."""
        if self._refused is not None:
            return self._refused
        if self.is_stale():
            return self._blind or f"control has not been heard of for {self._config.stale_after_s:g} s"
        return self._replica.problem

    def is_stale(self) -> bool:
        """Whether stops may have been missed, by this process's own clock."""
        if self._beaten_ns is None:
            return True
        return self._clock() - self._beaten_ns > int(self._config.stale_after_s * _NS_PER_S)

    async def heard(self, *, wait_s: float) -> bool:
        """Whether control has told everything once, as soon as it has, at the latest after `wait_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._is_heard.wait()
        return self._is_heard.is_set()

    async def run(self) -> None:
        """Read the feed, again and again, until cancelled; then take leave of control and keep what is known."""
        keeping = asyncio.create_task(self._keeping())
        try:
            await self._reading()
        finally:
            self._beaten_ns = None
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._acknowledging.close()
            await self._left()

    async def _reading(self) -> None:
        wait_s = self._config.backoff_s
        while True:
            before_ns = self._beaten_ns
            try:
                await self._read()
            except UnreadableError as error:
                self._beaten_ns, self._refused = None, str(error)
                _LOG.error("this gateway denies what has effects: %s", error)
            except RefusedError as error:
                self._refused = str(error)
                _LOG.error("control does not let this gateway read its feed: %s", error)
            except (aiohttp.ClientError, TimeoutError, OSError, HeadgateError) as error:
                _LOG.warning("the feed of control is read anew: %s", _said(error))
            heard = self._beaten_ns is not None and self._beaten_ns != before_ns
            wait_s = self._config.backoff_s if heard else min(wait_s * 2, self._config.backoff_max_s)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that gateways do not come at once

    async def _read(self) -> None:
        """One connection, until it ends."""
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=self._config.silence_s)
        address = self._address.path("/v1/feed").with_query(self._asked())
        async with self._client.get(
            address, headers=self._address.headers(), timeout=timeout, allow_redirects=False
        ) as answer:
            if answer.status != 200:
                await self._heard_refusal(answer)
            reader = FrameReader()
            async for piece in answer.content.iter_any():
                for frame in reader.feed(piece):
                    await self._take(frame)
        raise TransientError("control has ended it")

    def _asked(self) -> dict[str, str]:
        asked = {"version": str(self._version), "point": self._config.point, "process": self._process}
        if self._replica.run is not None:
            asked |= {"since": str(self._replica.state.position), "run": self._replica.run}
        return asked

    async def _take(self, frame: Frame) -> None:
        before, run = self._replica.state, self._replica.run
        beat = self._replica.take(frame)
        state = self._replica.state
        if self._replica.run != run:
            self._acknowledging.another_run()
        if state.snapshot.stops is not before.snapshot.stops:
            self._acknowledging.strike(state)
        if state is not before:
            self._is_changed.set()
        if frame.name == "blind":
            self._blind = f"control beats no more: {frame.body.get('reason')}"
        if beat is not None:
            self._beaten_ns, self._refused, self._blind = self._clock(), None, None
            self._is_heard.set()
            await self._acknowledging.acknowledge(beat.epoch)

    async def _heard_refusal(self, answer: aiohttp.ClientResponse) -> None:
        """Raise what control says; where it speaks an older version that is known here, ask in that one next time."""
        text = (await answer.content.read(64_000)).decode(errors="replace")
        said: Mapping[str, Any] = {}
        with suppress(orjson.JSONDecodeError):
            found = orjson.loads(text)
            said = found if isinstance(found, Mapping) else {}
        newest = said.get("version")
        if type(newest) is int and VERSION_OLDEST <= newest < self._version:
            self._version = newest
        message = f"{answer.status}: {said.get('error', answer.reason)}"
        if answer.status >= 500:
            raise TransientError(message)
        raise RefusedError(message)

    async def _tell(self, said: Mapping[str, Any]) -> None:
        """Acknowledge, a few times if need be; what then is not told, control takes for silence."""
        for trial in range(_TELL_TRIES):
            try:
                await self._post("/v1/feed/ack", said)
            except (aiohttp.ClientError, TimeoutError, OSError, HeadgateError) as error:
                _LOG.warning("epoch %s is not acknowledged yet: %s", said["epoch"], _said(error))
                await asyncio.sleep(self._config.backoff_s * 2**trial)
            else:
                return

    async def _left(self) -> None:
        with suppress(aiohttp.ClientError, TimeoutError, OSError, HeadgateError):
            await self._post("/v1/feed/leave", {"point": self._config.point})

    async def _post(self, path: str, said: Mapping[str, Any]) -> None:
        async with self._client.post(
            self._address.path(path),
            data=orjson.dumps(said),
            headers={**self._address.headers(), "content-type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=2.0),
            allow_redirects=False,
        ) as answer:
            if answer.status != 200:
                raise TransientError(f"control answers {answer.status}")

    async def _keeping(self) -> None:
        """Keep what is known in its file, soon after it has changed, and at the end."""
        writing: asyncio.Future[None] | None = None
        try:
            while True:
                await self._is_changed.wait()
                await asyncio.sleep(self._config.keep_every_s)
                self._is_changed.clear()
                writing = asyncio.ensure_future(asyncio.to_thread(self._keep, content_of(self._replica)))
                await asyncio.shield(writing)
        finally:
            if writing is not None:
                await writing
            if self._is_changed.is_set():
                self._keep(content_of(self._replica))

    def _keep(self, content: bytes) -> None:
        try:
            keep(self._config.snapshot, content)
        except OSError as error:
            _LOG.error("what is known of control cannot be kept in %s: %s", self._config.snapshot, error)


def _said(error: Exception) -> str:
    """What an error says; some say nothing but their name."""
    return str(error) or type(error).__name__
