"""The parts that servers are made of: addresses, admission, counters, faults, decompression, statuses."""

import gzip
import logging
import threading

import grpc
import pytest
import zstandard
from google.rpc.error_details_pb2 import RetryInfo

from headgate_processors.errors import (
    ConfigError,
    ForbiddenError,
    OverloadError,
    PermanentError,
    TooLargeError,
    TransientError,
    UnauthenticatedError,
)
from headgate_processors.receiver.addresses import guarded_address, parsed_address
from headgate_processors.receiver.admission import Admission
from headgate_processors.receiver.compression import decompressed
from headgate_processors.receiver.counters import MAX_SERIES, Counters
from headgate_processors.receiver.faults import Faults
from headgate_processors.receiver.gate import OWN_PARTS, Gate, no_credentials
from headgate_processors.receiver.port import CLIENT, Peer, Sender
from headgate_processors.receiver.stalls import StallWatch
from headgate_processors.receiver.status import answer_to
from headgate_processors.telemetry.definition import RECEIVER, Metric
from headgate_processors.testing.waiting import PATIENCE_S, wait_until


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:4317", ("127.0.0.1", 4317)),
        ("127.8.9.1:0", ("127.8.9.1", 0)),
        ("localhost:4318", ("localhost", 4318)),
        ("[::1]:14317", ("::1", 14317)),
    ],
)
def test_loopback_may_be_listened_on(text, expected) -> None:
    """Nobody else reads along on any form of loopback."""
    assert expected == guarded_address(text, setting="receiver.grpc", is_private=False)


@pytest.mark.parametrize("text", ["0.0.0.0:4317", "[::]:4317", "192.168.1.5:4317", "example.com:4317"])
def test_an_address_that_others_reach_needs_tls_or_a_word(text) -> None:
    """The message names the setting and says what to do instead."""
    with pytest.raises(ConfigError, match=r"receiver\.grpc: .*tls\.cert_file.* listen on 127\.0\.0\.1:4317"):
        guarded_address(text, setting="receiver.grpc", is_private=False)
    assert 4317 == guarded_address(text, setting="receiver.grpc", is_private=True)[1]


@pytest.mark.parametrize("text", ["", "4317", ":4317", "localhost", "localhost:", "localhost:http", "localhost:70000"])
def test_what_is_no_address_is_refused(text) -> None:
    """A host without a port, or a port without a host, is no listener."""
    with pytest.raises(ConfigError, match="is not HOST:PORT"):
        parsed_address(text, setting="receiver.http")


def test_whoever_has_no_credential_is_a_client_where_that_is_enough() -> None:
    """A header that claims to be somebody else changes nothing."""
    peer = Peer(address="127.0.0.1:50000", headers={"x-headgate-witness": "gateway"})
    assert CLIENT == Gate(authenticate=no_credentials, needs_credential=False)(peer)
    with pytest.raises(UnauthenticatedError, match="headgate token create"):
        Gate(authenticate=no_credentials, needs_credential=True)(peer)


def test_a_credential_where_none_is_known_is_a_wrong_one() -> None:
    """It is refused, not passed over."""
    for peer in (
        Peer(address="", headers={"authorization": "Bearer x"}),
        Peer(address="", headers={}, certificate_names=("x",)),
    ):
        with pytest.raises(UnauthenticatedError):
            Gate(authenticate=no_credentials, needs_credential=False)(peer)


def test_a_gate_lets_in_its_roles_only() -> None:
    """Agents have listeners of their own."""
    peer = Peer(address="", headers={})
    for sender, may in ((Sender(role="gateway"), True), (Sender(role="collector"), True), (CLIENT, False)):
        gate = Gate(authenticate=lambda _, sender=sender: sender, needs_credential=True, roles=OWN_PARTS)
        if may:
            assert sender == gate(peer)
        else:
            with pytest.raises(ForbiddenError, match="4317"):
                gate(peer)


def test_places_are_given_back() -> None:
    """A place, and the bytes it held, are free again when its request ends, however it ends."""
    admission = Admission(places=1, running=1, wait_s=0, max_bytes=10)

    def fill(size: int) -> None:
        with admission.place() as place:
            place.reserve(10)
            place.reserve(size)

    for _ in range(3):
        fill(0)
        with pytest.raises(OverloadError, match="10 bytes of requests"):
            fill(1)
    with admission.place(), pytest.raises(OverloadError, match="as many requests"), admission.place():
        pass


def test_bytes_over_the_bound_are_refused_and_not_held() -> None:
    """A reservation that does not fit holds nothing, and what fits after it is taken."""
    admission = Admission(places=2, running=1, wait_s=0, max_bytes=10)
    with admission.place() as first, admission.place() as second:
        first.reserve(6)
        with pytest.raises(OverloadError, match="6 bytes of requests, 10 at most"):
            second.reserve(5)
        second.reserve(4)
    assert (6, 4) == (first.held_bytes, second.held_bytes)


def test_no_more_than_the_bound_work_at_once() -> None:
    """Of many that want to work, as many do as may; the others are refused after their wait."""
    admission = Admission(places=8, running=2, wait_s=0.05, max_bytes=1)
    done = threading.Event()
    working = threading.Semaphore(0)
    refused = threading.Semaphore(0)

    def work() -> None:
        try:
            with admission.turn():
                working.release()
                done.wait(PATIENCE_S)
        except OverloadError:
            refused.release()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert all(refused.acquire(timeout=PATIENCE_S) for _ in range(3))
    assert all(working.acquire(timeout=PATIENCE_S) for _ in range(2))
    done.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    with admission.turn():
        pass


def test_counters_add_up_over_threads() -> None:
    """No count is lost between threads, and values sum over the labels that are left out."""
    counters = Counters()

    def count() -> None:
        for _ in range(1000):
            counters.add("headgate_receiver_records_stored_total", 2, signal="traces")

    threads = [threading.Thread(target=count, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    counters.add("headgate_receiver_records_stored_total", signal="logs")
    assert 8000 == counters.value("headgate_receiver_records_stored_total", signal="traces")
    assert 8001 == counters.value("headgate_receiver_records_stored_total")


def test_a_label_that_never_ends_is_bounded() -> None:
    """Senders cannot fill the memory with series: those over the bound are counted together."""
    counters = Counters({"x_total": Metric(type="counter", doc="x", labels=("reason",))})
    for number in range(MAX_SERIES + 50):
        counters.add("x_total", reason=str(number))
    assert 50 == counters.value("x_total", reason="other")
    assert MAX_SERIES + 50 == counters.value("x_total")


def test_prometheus_text_is_escaped() -> None:
    """A label value with quotes, backslashes and line ends stays one line."""
    counters = Counters({"x_total": Metric(type="counter", doc="What x is.", labels=("reason",))})
    counters.add("x_total", reason='a "b" \\ c\nd')
    expected = '# HELP x_total What x is.\n# TYPE x_total counter\nx_total{reason="a \\"b\\" \\\\ c\\nd"} 1\n'
    assert expected == counters.prometheus()


def test_every_metric_is_documented() -> None:
    """Names follow Prometheus, counters end in _total, and each has a line of doc."""
    for name, metric in RECEIVER.items():
        assert name.startswith("headgate_receiver_")
        assert metric.doc.endswith(".")
        assert name.endswith("_total") == (metric.type == "counter")


def test_a_kind_of_fault_is_logged_once(caplog) -> None:
    """The same exception from the same line is one log entry; from another line it is another."""
    counters = Counters()
    faults = Faults(counters, logging.getLogger("headgate.test"))

    def fail(where: str) -> None:
        try:
            if where == "here":
                raise ValueError(where)
            raise ValueError(where)
        except ValueError as error:
            faults.record(error, doing="testing")

    for where in ("here", "here", "there", "here"):
        fail(where)
    faults.record(ValueError("without a traceback"), doing="testing")
    assert 3 == len(caplog.records)
    assert "unexpected ValueError while testing" == caplog.records[0].getMessage()
    assert 5 == counters.value("headgate_receiver_faults_total", type="ValueError")


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_decompression_gives_back_what_was_compressed(encoding, compress) -> None:
    """Also several compressed parts behind each other, and nothing at all."""
    content = bytes(range(256)) * 20_000
    assert content == decompressed(compress(content), encoding=encoding, max_bytes=len(content))
    assert content * 2 == decompressed(compress(content) * 2, encoding=encoding, max_bytes=2 * len(content))
    assert b"" == decompressed(b"", encoding=encoding, max_bytes=1)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_decompression_ends_at_the_limit(encoding, compress) -> None:
    """What grows over the limit is refused by the piece that passes it."""
    reserved: list[int] = []
    with pytest.raises(TooLargeError, match="larger than 3000000 bytes when decompressed"):
        decompressed(compress(bytes(50 << 20)), encoding=encoding, max_bytes=3_000_000, reserve=reserved.append)
    assert sum(reserved) <= 3_000_000


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_damaged_compression_is_refused(encoding, compress) -> None:
    """Cut short, garbled, or followed by something else: a permanent failure."""
    good = compress(b"hello " * 1000)
    for bad in (good[:-3], good[: len(good) // 2], b"plain text", good + b"more"):
        with pytest.raises(PermanentError, match=f"not valid {encoding}"):
            decompressed(bad, encoding=encoding, max_bytes=1 << 20)


def test_retry_info_carries_the_time() -> None:
    """An overload says for how long, to the millisecond in gRPC and in whole seconds in HTTP."""
    answer = answer_to(OverloadError("full", retry_after_s=1.25))
    (detail,) = answer.status().details
    info = RetryInfo()
    assert detail.Unpack(info)
    assert (1250, "2") == (info.retry_delay.ToMilliseconds(), answer.retry_after_header)


def test_a_permanent_failure_has_no_retry_info() -> None:
    """Whoever sees RetryInfo sends again: it stands only where that helps."""
    assert [] == list(answer_to(TooLargeError("x")).status().details)
    assert grpc.StatusCode.UNAVAILABLE == answer_to(TransientError("x")).code


def test_a_stall_watch_ends_only_what_is_overdue() -> None:
    """What leaves the block in time is not ended, what does not is ended once."""
    ended: list[str] = []
    watch = StallWatch(0.05)
    watch.start()
    with watch.watching(lambda: ended.append("quick")):
        pass
    with watch.watching(lambda: ended.append("slow")):
        wait_until(lambda: "slow" in ended)
    watch.close()
    assert ["slow"] == ended


def test_a_stall_watch_outlives_what_cannot_be_ended() -> None:
    """One failure would else let every later stall last for ever."""
    ended: list[str] = []
    watch = StallWatch(0.01)
    watch.start()
    with watch.watching(lambda: 1 // 0), watch.watching(lambda: ended.append("next")):
        wait_until(lambda: bool(ended))
    watch.close()
    assert ["next"] == ended
