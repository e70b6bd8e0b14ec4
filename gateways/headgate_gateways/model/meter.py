"""Keeps a call within what is reserved for it: it reserves more as the answer grows and as time passes, or says no.

The piece of an answer that does not fit any more is not passed on, so a ceiling is passed by one piece at most for
each call that is open. What a call is not known to have spent is what was estimated of it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from headgate_control.budgets.amount import NOTHING, Amount
from headgate_control.budgets.port import Budgets
from headgate_gateways.model.usage import Usage, UsageReader
from headgate_processors.errors import TransientError

OUTPUT_TOKENS_STEP = 4_096
DURATION_MS_FIRST = 1_000
DURATION_MS_STEPS = (4_000, 15_000, 30_000)
LEAD_MS = 200
LIFETIME_NS = 15 * 60 * 1_000_000_000
_MS_PER_S = 1_000
_NS_PER_MS = 1_000_000

Price = Callable[[Usage, str | None], Amount]
"""What an answer costs: its usage, and the model that it names. Wall time is not in it."""


class Meter:
    """The meter of one call, whose reservation holds `reserved`; `output_tokens` is the output that this covers."""

    def __init__(
        self,
        budgets: Budgets,
        price: Price,
        *,
        reservation_id: str,
        reserved: Amount,
        input_tokens: int,
        output_tokens: int,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._budgets, self._price, self._id = budgets, price, reservation_id
        self._reserved, self._input_tokens, self._covered_tokens = reserved, input_tokens, output_tokens
        self._clock, self._monotonic = clock, monotonic
        self._output_tokens, self._still = output_tokens, asyncio.Lock()
        self._seen: tuple[object, ...] = (None, None, None, None)
        self._is_tight = False
        self._began_ns = monotonic()
        self._steps = 0
        self._refused: str | None = None

    @property
    def reserved(self) -> Amount:
        """All that is reserved for the call."""
        return self._reserved

    @property
    def still(self) -> asyncio.Lock:
        """Held while the reservation is not to change under one's hands."""
        return self._still

    def moved(self, reservation_id: str, reserved: Amount) -> None:
        """The call goes elsewhere, where nothing of it is answered yet, by another reservation. Call it `still`."""
        self._id, self._reserved, self._covered_tokens = reservation_id, reserved, self._output_tokens
        self._is_tight, self._refused = False, None

    async def passed(self, reader: UsageReader) -> str | None:
        """Look at an answer that has grown by a piece; why it may not go on, or None."""
        usage = reader.so_far
        output = usage.output_tokens or 0
        seen = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, reader.model)
        if output <= self._covered_tokens and seen == self._seen:
            return None
        self._seen = seen
        if usage.input_tokens is None:
            usage = replace(usage, input_tokens=self._input_tokens)
        return await self._covered(usage, output, reader.model)

    async def _covered(self, usage: Usage, output: int, model: str | None) -> str | None:
        """Reserve what this usage costs, and some output beyond it while there is plenty."""
        wanted = self._covered_tokens if output <= self._covered_tokens else output + OUTPUT_TOKENS_STEP
        if not self._is_tight and await self._more(self._price(replace(usage, output_tokens=wanted), model)) is None:
            self._covered_tokens = wanted
            return None
        self._is_tight = True
        self._covered_tokens = output
        return await self._more(self._price(usage, model))

    async def _more(self, cost: Amount) -> str | None:
        """Have at least `cost` reserved, wall time aside; why that cannot be, or None."""
        held = self._reserved
        missing = Amount(nano_usd=max(0, cost.nano_usd - held.nano_usd), tokens=max(0, cost.tokens - held.tokens))
        return None if missing == NOTHING else await self._top_up(missing)

    def due_s(self) -> float:
        """In how many seconds `waited` is to be called."""
        left_ms = self._reserved.duration_ms - self._elapsed_ms()
        return max(0.0, left_ms if self._refused is not None else left_ms - LEAD_MS) / _MS_PER_S

    async def waited(self) -> str | None:
        """Reserve more time, shortly before what is reserved is over; once it is over, why the call may not go on."""
        if self._refused is not None and self._elapsed_ms() >= self._reserved.duration_ms:
            return self._refused
        step = DURATION_MS_STEPS[min(self._steps, len(DURATION_MS_STEPS) - 1)]
        self._steps += 1
        refused = await self._top_up(Amount(duration_ms=step))
        if refused is not None:
            refused = await self._top_up(Amount(duration_ms=DURATION_MS_FIRST))
        self._refused = refused
        return None

    def _elapsed_ms(self) -> int:
        return (self._monotonic() - self._began_ns) // _NS_PER_MS

    async def _top_up(self, more: Amount) -> str | None:
        async with self._still:
            return await self._topped_up(more)

    async def _topped_up(self, more: Amount) -> str | None:
        try:
            answer = await self._budgets.top_up(self._id, more, expires_unix_nano=self._clock() + LIFETIME_NS)
        except KeyError:
            return "the reservation of this call is over"
        except TransientError as error:
            return str(error)
        if answer.refused is not None:
            return str(answer.refused)
        self._reserved += more
        return None
