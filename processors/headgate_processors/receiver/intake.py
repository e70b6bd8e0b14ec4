"""What both servers do with a request, whatever protocol brought it: count, admit, ingest, answer."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from headgate_processors.errors import ForbiddenError, PermanentError, PoisonError, TooLargeError, UnauthenticatedError
from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.admission import Admission, Place
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.dead_letters import DeadLetters
from headgate_processors.receiver.faults import Faults, Strangers
from headgate_processors.receiver.port import Accepted, Ingest, Sender
from headgate_processors.receiver.status import Answer, answer_to

_LOGGER = logging.getLogger(__name__)


class Intake:
    """One way in for all servers of a receiver: they share its bounds, counters and dead letters."""

    def __init__(
        self, ingest: Ingest, *, config: ReceiverConfig, counters: Counters, dead_letters: DeadLetters | None
    ) -> None:
        self._ingest = ingest
        self._dead_letters = dead_letters
        self._faults = Faults(counters, _LOGGER)
        self._strangers = Strangers(_LOGGER)
        self._admission = Admission(
            places=config.places,
            running=config.running,
            wait_s=config.wait_s,
            max_bytes=config.max_buffered_bytes,
        )
        self.counters = counters

    @contextmanager
    def place(self, protocol: str) -> Iterator[Place]:
        """A place for one request from its first byte to its answer; raises OverloadError when there is none."""
        with self._admission.place() as place:
            self.counters.add("headgate_receiver_in_flight", protocol=protocol)
            try:
                yield place
            finally:
                self.counters.add("headgate_receiver_in_flight", -1, protocol=protocol)

    def accept(self, body: bytes, *, signal: Signal, encoding: Encoding, sender: Sender, protocol: str) -> Accepted:
        """Ingest one decompressed request when its turn comes; blocks until what it kept is durable.

        Raises:
            HeadgateError: as the port says, and OverloadError when the turn does not come in time.
        """
        began_s = time.monotonic()
        with self._admission.turn():
            try:
                accepted = self._ingest(body, signal=signal, encoding=encoding, sender=sender)
            except TooLargeError:
                raise
            except PermanentError as error:
                self.bury(body, error, signal=signal, encoding=encoding)
                raise
        self._count(accepted, len(body), signal=signal, protocol=protocol)
        seconds = time.monotonic() - began_s
        self.counters.time("headgate_receiver_request_seconds", seconds, protocol=protocol, signal=signal)
        return accepted

    def bury(self, body: bytes, error: PermanentError, *, signal: Signal, encoding: Encoding) -> None:
        """Keep the bytes of a request that is refused whole."""
        if self._dead_letters is not None:
            reason = "unreadable" if isinstance(error, PoisonError) else "request"
            self._dead_letters.keep(body, signal=signal, encoding=encoding, reason=reason, detail=str(error))

    def refuse(self, error: BaseException, *, signal: Signal, protocol: str) -> Answer:
        """The answer to a request that failed; what nobody expected is logged.

        The traceback is taken off the error: whoever keeps the error, as a group commit does that raises it
        to many, would else keep the frames of the request with it, its body, and for gRPC its stream.
        """
        answer = answer_to(error)
        if isinstance(error, UnauthenticatedError | ForbiddenError):
            self._strangers.record(error, doing=f"taking {signal} over {protocol}")
        if not answer.expected:
            self._faults.record(error, doing=f"taking {signal} over {protocol}")
        error.__traceback__ = None
        self.counters.add("headgate_receiver_requests_total", protocol=protocol, signal=signal, status=answer.code.name)
        return answer

    def _count(self, accepted: Accepted, size: int, *, signal: Signal, protocol: str) -> None:
        add = self.counters.add
        duplicates = accepted.received - accepted.stored - accepted.rejected
        add("headgate_receiver_requests_total", protocol=protocol, signal=signal, status="OK")
        add("headgate_receiver_request_bytes_total", size, protocol=protocol, signal=signal)
        add("headgate_receiver_records_received_total", accepted.received, signal=signal)
        add("headgate_receiver_records_stored_total", accepted.stored, signal=signal)
        for reason, count in accepted.reasons.items():
            add("headgate_receiver_records_rejected_total", count, signal=signal, reason=reason)
        add("headgate_receiver_records_duplicate_total", duplicates, signal=signal)
        if accepted.forged:
            add("headgate_receiver_forged_total", accepted.forged, signal=signal)
