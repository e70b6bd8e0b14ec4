"""Calls that are not told yet, in a file that outlives the process: what a killed gateway leaves, its next one tells.

The file is mapped into memory, so a call is written into it without asking the system for anything, and what was
written is there when the process dies. A call has one place in it from its beginning until the store has its span. Of
one whose end nobody saw the next process knows who made it, what had passed, and what was reserved for it.
"""

import logging
import mmap
import os
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from headgate_control.identity.instance import Instance
from headgate_gateways.model.named import CallTrace
from headgate_gateways.model.told import ToldCall
from headgate_gateways.model.usage import Usage

KILLED = "gateway_killed"
"""The error type of a call whose gateway was killed."""
PLACES = 6_144
PLACE_BYTES = 2_048
_MAGIC = b"headgate calls 1"
_ALIVE = struct.Struct("<q")
_ENDED_WELL_AT = 32
_FIGURES = struct.Struct("<qqqqqq")
_HEAD = struct.Struct("<BxHHxx")
_BEGUN_AT = 64
_OVER_AT = 1_024
_FREE, _OPEN, _OVER = 0, 1, 2
_UNKNOWN = -1
_NOTHING = (_UNKNOWN,) * 4
_AT_ITS_END = (
    "provider",
    "request_model",
    "routed_from_model",
    "decision_id",
    "ended_unix_nano",
    "usage",
    "model",
    "response_id",
    "request_id",
    "finish_reasons",
    "first_chunk_ns",
    "http_status",
    "error_type",
    "attempts",
    "failed_attempts",
    "skipped",
    "saved_nano_usd",
    "cost_nano_usd",
    "request_hash",
)
_LOG = logging.getLogger(__name__)


class Entry:
    """The place of one call. For the event loop of its gateway."""

    def __init__(self, book: "Unfinished", number: int, begun: dict[str, Any]) -> None:
        self.number = number
        self._book, self._begun = book, begun

    def moved(self, *, decision_id: str, provider: str, request_model: str, reserved_nano_usd: int) -> None:
        """It goes on elsewhere, by another decision; its attempt before has failed."""
        before = self._begun["request_model"]
        if request_model != before and self._begun["routed_from_model"] is None:
            self._begun["routed_from_model"] = before
        self._begun |= {"decision_id": decision_id, "provider": provider, "request_model": request_model}
        self._begun["attempts"] += 1
        self._begun["failed_attempts"] += 1
        self._book.write_begun(self.number, self._begun, reserved_nano_usd)

    def passed(self, usage: Usage, reserved_nano_usd: int) -> None:
        """So much of the answer has passed, and so much is reserved by now."""
        self._book.write_figures(self.number, usage, reserved_nano_usd)

    def over(self, told: ToldCall) -> None:
        """It has ended; its place is free when the store has its span."""
        self._book.write_over(self.number, told)


class Unfinished:
    """The file of one gateway, for one process. Calls come and go in one event loop; spans are sent in any thread.

    `was_killed`: the process before this one did not get to its end.
    """

    def __init__(self, memory: mmap.mmap | bytearray, clock: Callable[[], int]) -> None:
        self._memory, self._clock = memory, clock
        self.was_killed = not memory[_ENDED_WELL_AT]
        self._has_told = False
        memory[_ENDED_WELL_AT] = False
        self._sending: dict[int, int] = {}
        self._unsent: deque[int] = deque()
        self._left = list(self._found())
        taken = {number for number, *_ in self._left}
        self._free = [number for number in range(PLACES - 1, -1, -1) if number not in taken]

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], int] = time.time_ns) -> "Unfinished | None":
        """The file at `path`, made where there is none; None where there is no room for it, which is logged."""
        size = PLACES * PLACE_BYTES + mmap.PAGESIZE
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                is_new = os.pread(file, len(_MAGIC), 0) != _MAGIC or os.fstat(file).st_size != size
                if is_new:
                    os.ftruncate(file, 0)
                # A page without room on the disk would end the process when it is written.
                os.posix_fallocate(file, 0, size)
                memory = mmap.mmap(file, size)
            finally:
                os.close(file)
        except OSError as error:
            _LOG.error("calls that run when this gateway is killed will not be told: %s: %s", path, error)
            return None
        if is_new:
            memory[: len(_MAGIC)] = _MAGIC
            memory[_ENDED_WELL_AT] = True
        return cls(memory, clock)

    def left(self, instances: Callable[[str], Instance | None]) -> Iterator[ToldCall]:
        """The calls that an earlier process has left, once; each keeps its place until the store has its span."""
        left, self._left = self._left, []
        for number, instance_id, told in left:
            self._sending[told.trace.span_id] = number
            yield replace(told, instance=instances(instance_id) if instance_id is not None else None)
        self._has_told = True

    def begun(self, told: ToldCall, *, instance_id: str, reserved_nano_usd: int) -> Entry | None:
        """The place of a call that begins; None where there is none left, or its names are too long for one."""
        trace = told.trace
        begun = {
            "trace": f"{trace.trace_id:032x}{trace.span_id:016x}{trace.parent_span_id or 0:016x}",
            "decision_id": told.decision_id,
            "operation": told.operation,
            "provider": told.provider,
            "request_model": told.request_model,
            "began_unix_nano": told.began_unix_nano,
            "instance_id": instance_id,
            "session": told.session,
            "is_stream": told.is_stream,
            "routed_from_model": told.routed_from_model,
            "retry_count": told.retry_count,
            "request_hash": told.request_hash,
            "attempts": 1,
            "failed_attempts": 0,
        }
        number = self._taken()
        if number is None:
            return None
        if not self.write_begun(number, begun, reserved_nano_usd):
            self._free.append(number)
            return None
        return Entry(self, number, begun)

    def sent(self, span_ids: Sequence[int], *, well: bool) -> None:
        """Spans are in the store, or could not be sent: then the next process may tell them."""
        for span_id in span_ids:
            number = self._sending.pop(span_id, None)
            if number is None:
                continue
            if well:
                self._memory[_at(number)] = _FREE
                self._free.append(number)
            else:
                self._unsent.append(number)

    def close(self, *, well: bool) -> None:
        """The process ends; `well` says that it leaves no decision untold.

        Where it has not come to tell what the one before it left, that is still to be told.
        """
        self._memory[_ENDED_WELL_AT] = well and (self._has_told or not self.was_killed)

    def write_begun(self, number: int, begun: Mapping[str, Any], reserved_nano_usd: int) -> bool:
        """Who makes a call, and where it goes; false where that is too long."""
        written, at = orjson.dumps(begun), _at(number)
        if len(written) > _OVER_AT - _BEGUN_AT:
            self._memory[at] = _FREE
            return False
        self._memory[at + _BEGUN_AT : at + _BEGUN_AT + len(written)] = written
        now = self._clock()
        _FIGURES.pack_into(self._memory, at + _HEAD.size, *_NOTHING, reserved_nano_usd, now)
        _ALIVE.pack_into(self._memory, len(_MAGIC), now)
        _HEAD.pack_into(self._memory, at, _OPEN, len(written), 0)
        return True

    def write_figures(self, number: int, usage: Usage, reserved_nano_usd: int) -> None:
        """What has passed of a call, and what is reserved for it."""
        now, at = self._clock(), _at(number) + _HEAD.size
        tokens = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.output_tokens)
        known = [_UNKNOWN if count is None else count for count in tokens]
        _FIGURES.pack_into(self._memory, at, *known, reserved_nano_usd, now)
        _ALIVE.pack_into(self._memory, len(_MAGIC), now)

    def write_over(self, number: int, told: ToldCall) -> None:
        """What became of a call."""
        written, at = orjson.dumps(_over(told)), _at(number)
        if len(written) > PLACE_BYTES - _OVER_AT:
            written = orjson.dumps(_over(replace(told, skipped=(), finish_reasons=(), response_id=None)))
        if len(written) > PLACE_BYTES - _OVER_AT:
            self._memory[at] = _FREE
            self._free.append(number)
            return
        self._memory[at + _OVER_AT : at + _OVER_AT + len(written)] = written
        length = _HEAD.unpack_from(self._memory, at)[1]
        self._sending[told.trace.span_id] = number
        _HEAD.pack_into(self._memory, at, _OVER, length, len(written))
        _ALIVE.pack_into(self._memory, len(_MAGIC), told.ended_unix_nano)

    def _taken(self) -> int | None:
        """A free place, else that of a call that could not be sent for longest."""
        for places in (self._free.pop, self._unsent.popleft):
            try:
                return places()
            except IndexError:
                continue
        return None

    def _found(self) -> Iterator[tuple[int, str | None, ToldCall]]:
        """The places that are taken, each with the instance and its call."""
        alive_unix_nano = int(_ALIVE.unpack_from(self._memory, len(_MAGIC))[0])
        for number in range(PLACES):
            at = _at(number)
            state, length, end = _HEAD.unpack_from(self._memory, at)
            if state not in {_OPEN, _OVER}:
                continue
            try:
                told = _begun(orjson.loads(self._memory[at + _BEGUN_AT : at + _BEGUN_AT + length]))
                if state == _OVER:
                    told |= _ended(orjson.loads(self._memory[at + _OVER_AT : at + _OVER_AT + end]))
                else:
                    told |= _killed(told, _FIGURES.unpack_from(self._memory, at + _HEAD.size), alive_unix_nano)
                instance_id, call = told.pop("instance_id", None), ToldCall(**told)
            except (ValueError, KeyError, TypeError):
                # The process was killed while it wrote this, or was of a version that says something else.
                self._memory[at] = _FREE
                continue
            yield number, instance_id, call


def _over(told: ToldCall) -> dict[str, Any]:
    return {name: getattr(told, name) for name in _AT_ITS_END}


def _at(number: int) -> int:
    return mmap.PAGESIZE + number * PLACE_BYTES


def _begun(found: dict[str, Any]) -> dict[str, Any]:
    written = found.pop("trace")
    trace_id, span_id, parent = (int(part, 16) for part in (written[:32], written[32:48], written[48:]))
    return {**found, "trace": CallTrace(trace_id=trace_id, span_id=span_id, parent_span_id=parent or None)}


def _ended(found: dict[str, Any]) -> dict[str, Any]:
    usage = found["usage"]
    return {**found, "usage": Usage(**usage) if usage is not None else None}


def _killed(told: Mapping[str, Any], figures: Sequence[int], alive_unix_nano: int) -> dict[str, Any]:
    """A call whose end nobody saw: it ended no earlier than the last that its process did."""
    *tokens, reserved_nano_usd, seen_unix_nano = figures
    input_tokens, read, written, output_tokens = (None if count == _UNKNOWN else count for count in tokens)
    is_known = bool(output_tokens) or input_tokens is not None
    usage = Usage(
        input_tokens=input_tokens, cache_read_tokens=read, cache_write_tokens=written, output_tokens=output_tokens
    )
    return {
        "ended_unix_nano": max(told["began_unix_nano"], seen_unix_nano, alive_unix_nano),
        "usage": usage if is_known else None,
        "error_type": KILLED,
        "failed_attempts": told["failed_attempts"] + 1,
        "cost_nano_usd": reserved_nano_usd,
    }
