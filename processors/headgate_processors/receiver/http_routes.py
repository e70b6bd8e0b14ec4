"""The HTTP surface of a receiver: which requests are taken, and what each is answered with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from headgate_processors.errors import HeadgateError, PermanentError, TooLargeError
from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.admission import Place
from headgate_processors.receiver.compression import ENCODINGS, decompressed
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.gate import Gate
from headgate_processors.receiver.intake import Intake
from headgate_processors.receiver.port import Peer, Sender
from headgate_processors.receiver.responses import CONTENT_TYPES, export_response, status_response
from headgate_processors.receiver.status import answer_to

PROTOCOL = "http"
SIGNALS: Mapping[str, Signal] = {f"/v1/{signal}": signal for signal in Signal}
_ENCODING_OF: Mapping[str, Encoding] = {content_type: encoding for encoding, content_type in CONTENT_TYPES.items()}
_TEXT = "text/plain; charset=utf-8"
_CHALLENGE = {"www-authenticate": "Bearer"}
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of a request; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    peer: str
    certificate_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A request to ingest, known from its head alone."""

    signal: Signal
    encoding: Encoding
    content_encoding: str
    sender: Sender


class Routes:
    """Decides by the head of a request, before its body is read, what becomes of it."""

    def __init__(
        self, intake: Intake, gate: Gate, config: ReceiverConfig, *, unready: Callable[[], str | None]
    ) -> None:
        self._intake = intake
        self._gate = gate
        self._config = config
        self._unready = unready

    def route(self, head: Head) -> Export | Response:
        """The export that the head announces, or the answer to what is none."""
        signal = SIGNALS.get(head.path)
        if signal is None:
            return self._page(head)
        if head.method != "POST":
            return _failure(405, "send OTLP with POST", head, allow="POST")
        encoding = _ENCODING_OF.get(_media_type(head))
        if encoding is None:
            return _failure(415, f"content-type is not one of {', '.join(_ENCODING_OF)}", head)
        content_encoding = head.headers.get("content-encoding", "identity").strip().lower() or "identity"
        if content_encoding not in ENCODINGS:
            wanted = ", ".join(ENCODINGS)
            return _failure(415, f"content-encoding is not one of {wanted}", head, accept_encoding=wanted)
        try:
            sender = self._gate(_peer(head))
        except Exception as error:  # noqa: BLE001 - the edge: what fails in judging a credential is our fault
            return self.refuse(error, signal=signal, encoding=encoding)
        return Export(signal=signal, encoding=encoding, content_encoding=content_encoding, sender=sender)

    def take(self, export: Export, body: bytes, place: Place) -> Response:
        """Ingest a body that was received whole; blocks until it is durable, and answers whatever happens."""
        try:
            content = self._decompressed(export, body, place)
            accepted = self._intake.accept(
                content, signal=export.signal, encoding=export.encoding, sender=export.sender, protocol=PROTOCOL
            )
            response = export_response(accepted, signal=export.signal, encoding=export.encoding)
        except BaseException as error:  # noqa: BLE001 - a panic of native code is no Exception, and is our fault
            return self.refuse(error, signal=export.signal, encoding=export.encoding)
        return Response(status=200, content_type=CONTENT_TYPES[export.encoding], body=response)

    def refuse(self, error: BaseException, *, signal: Signal, encoding: Encoding) -> Response:
        """The answer to an export that failed."""
        answer = self._intake.refuse(error, signal=signal, protocol=PROTOCOL)
        headers = {} if answer.retry_after_s is None else {"retry-after": answer.retry_after_header}
        return Response(
            status=answer.http,
            content_type=CONTENT_TYPES[encoding],
            body=status_response(answer.status(), encoding=encoding),
            headers=headers | (_CHALLENGE if answer.http == HTTPStatus.UNAUTHORIZED else {}),
        )

    def _decompressed(self, export: Export, body: bytes, place: Place) -> bytes:
        try:
            return decompressed(
                body,
                encoding=export.content_encoding,
                max_bytes=self._config.max_message_bytes,
                reserve=place.reserve,
            )
        except TooLargeError:
            raise
        except PermanentError as error:
            self._intake.bury(body, error, signal=export.signal, encoding=export.encoding)
            raise

    def _page(self, head: Head) -> Response:
        if head.path not in {"/healthz", "/readyz", "/metrics"}:
            return _failure(404, f"no such path; OTLP goes to {', '.join(SIGNALS)}", head)
        if head.method != "GET":
            return _failure(405, "read this with GET", head, allow="GET")
        if head.path == "/metrics":
            return self._metrics(head)
        if head.path == "/readyz" and (why := self._unready()) is not None:
            return Response(status=503, content_type=_TEXT, body=f"{why}\n".encode())
        return Response(status=200, content_type=_TEXT, body=b"ok\n")

    def _metrics(self, head: Head) -> Response:
        """What the receiver counts, for whoever may send here."""
        try:
            self._gate(_peer(head))
        except HeadgateError as error:
            answer = answer_to(error)
            return Response(
                status=answer.http, content_type=_TEXT, body=f"{answer.message}\n".encode(), headers=_CHALLENGE
            )
        return Response(status=200, content_type=_PROMETHEUS, body=self._intake.counters.prometheus().encode())


def _peer(head: Head) -> Peer:
    return Peer(address=head.peer, headers=head.headers, certificate_names=head.certificate_names)


def _media_type(head: Head) -> str:
    return head.headers.get("content-type", "").partition(";")[0].strip().lower()


_CODES: Mapping[int, int] = {404: Code.NOT_FOUND, 405: Code.UNIMPLEMENTED, 415: Code.INVALID_ARGUMENT}


def _failure(status: int, message: str, head: Head, **headers: str) -> Response:
    """A permanent failure; in the encoding of the request when it has one, else in JSON."""
    encoding = _ENCODING_OF.get(_media_type(head), "json")
    return Response(
        status=status,
        content_type=CONTENT_TYPES[encoding],
        body=status_response(Status(code=_CODES[status], message=message), encoding=encoding),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
