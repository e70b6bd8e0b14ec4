"""Sends recorded requests as real OTLP, as a good client does: bounded in flight, patient, never for ever."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from headgate_processors.errors import PermanentError
from headgate_processors.replay.clients import Acknowledged, Client, Failed, client_of
from headgate_processors.replay.endpoint import Endpoint, parsed_endpoint
from headgate_processors.replay.requests import ReplayItem, ReplayRefusal, ReplayRequest

MAX_REASONS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SendConfig:
    """How a sender behaves.

    `in_flight`: requests under way at once. `backoff_s`, `backoff_max_s`: between two tries, doubled each
    time, when the receiver names no time. `give_up_s`: without a final answer to any request, sending ends.
    """

    in_flight: int = 8
    backoff_s: float = 0.1
    backoff_max_s: float = 5.0
    give_up_s: float = 120.0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class SendReport:
    """What became of the requests.

    `acknowledged` + `failed` + `refused` is what was read; `refused` could not be read or put into OTLP,
    `failed` the receiver did not take. `rejected_records` are single records in acknowledged requests.
    `reasons` and `messages` count what receivers said, `refusals` holds the first `MAX_REASONS`.
    `given_up` says why sending ended early; it is empty when it did not.
    """

    acknowledged: int = 0
    failed: int = 0
    refused: int = 0
    rejected_records: int = 0
    retries: int = 0
    body_bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    refusals: list[ReplayRefusal] = field(default_factory=list)
    given_up: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether every request that was read is durable at the receiver."""
        return not (self.failed or self.refused or self.given_up)


def send(
    requests: Iterable[ReplayItem],
    endpoint: str | Endpoint,
    *,
    config: SendConfig | None = None,
    progress: Callable[[SendReport], None] = lambda _: None,
    pause: Callable[[float], object] | None = None,
) -> SendReport:
    """Send requests until each has a final answer; `progress` is called after each, one call at a time.

    `pause` is how to wait between two tries, so many seconds; without it the wait ends when sending does.

    Raises:
        ConfigError: `endpoint` is none.
        TransientError: nobody answers where the protocol had to be asked for.
    """
    config = config or SendConfig()
    where = parsed_endpoint(endpoint) if isinstance(endpoint, str) else endpoint
    client = client_of(where, config.headers)
    sending = _Sending(iter(requests), client, config, progress, pause)
    try:
        with ThreadPoolExecutor(config.in_flight, thread_name_prefix="headgate-send") as pool:
            workers = [pool.submit(sending.work) for _ in range(config.in_flight)]
            try:
                for worker in workers:
                    worker.result()
            finally:
                sending.stop()
    finally:
        client.close()
    return sending.report


class _Sending:
    """What the workers share: where the next request comes from, and the report."""

    def __init__(
        self,
        requests: Iterator[ReplayItem],
        client: Client,
        config: SendConfig,
        progress: Callable[[SendReport], None],
        pause: Callable[[float], object] | None,
    ) -> None:
        self.report = SendReport()
        self._requests = requests
        self._client = client
        self._config = config
        self._progress = progress
        self._reading = threading.Lock()
        self._reporting = threading.Lock()
        self._stopped = threading.Event()
        self._pause = pause or self._stopped.wait
        self._last_answer_s = time.monotonic()

    def stop(self) -> None:
        """Let the workers end after what they are sending."""
        self._stopped.set()

    def work(self) -> None:
        """Send one request after another until there is none, or sending was given up."""
        try:
            while not self._stopped.is_set() and (item := self._next()) is not None:
                self._finish(item, self._outcome(item))
        except BaseException:
            self.stop()
            raise

    def _next(self) -> ReplayItem | None:
        with self._reading:
            return next(self._requests, None)

    def _outcome(self, item: ReplayItem) -> Acknowledged | Failed | ReplayRefusal:
        if isinstance(item, ReplayRefusal):
            return item
        try:
            return self._sent(item)
        except PermanentError as error:
            return ReplayRefusal(path=item.path, line=item.line, reason=str(error))

    def _sent(self, request: ReplayRequest) -> Acknowledged | Failed:
        """The final answer to a request, or the last one before it was given up."""
        started_s = time.monotonic()
        backoff_s = self._config.backoff_s
        while True:
            answer = self._client.send(request)
            if isinstance(answer, Acknowledged) or not answer.may_retry:
                self._last_answer_s = time.monotonic()
                return answer
            if self._is_hopeless(started_s, answer):
                return answer
            wait_s = answer.retry_after_s if answer.retry_after_s is not None else backoff_s * random.uniform(0.5, 1.5)  # noqa: S311
            self._pause(min(wait_s, self._config.give_up_s))
            backoff_s = min(2 * backoff_s, self._config.backoff_max_s)
            with self._reporting:
                self.report.retries += 1

    def _is_hopeless(self, started_s: float, answer: Failed) -> bool:
        patient_until_s = max(started_s, self._last_answer_s) + self._config.give_up_s
        if time.monotonic() >= patient_until_s:
            with self._reporting:
                self.report.given_up = f"no final answer for {self._config.give_up_s:g} s; the last was {answer.reason}"
            self.stop()
        return self._stopped.is_set()

    def _finish(self, item: ReplayItem, outcome: Acknowledged | Failed | ReplayRefusal) -> None:
        report = self.report
        with self._reporting:
            match outcome:
                case Acknowledged():
                    report.acknowledged += 1
                    report.rejected_records += outcome.rejected
                    _tally(report.messages, outcome.message)
                case Failed():
                    report.failed += 1
                    _tally(report.reasons, outcome.reason)
                case ReplayRefusal():
                    report.refused += 1
                    if len(report.refusals) < MAX_REASONS:
                        report.refusals.append(outcome)
            if isinstance(item, ReplayRequest):
                report.body_bytes += len(item.body)
            self._progress(report)


def _tally(counts: Counter[str], text: str) -> None:
    """Count a text; when there are many different ones, further ones together."""
    if text:
        counts[text if text in counts or len(counts) < MAX_REASONS else "others"] += 1
