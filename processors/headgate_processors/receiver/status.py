"""What every failure is answered with: one function for both protocols.

A Collector throws a batch away on every status that it holds for permanent, and senders hold all but a
few for permanent. So only what is the sender's fault gets a permanent status, and whatever is not
expected counts as our fault.

| failure | gRPC | HTTP | the sender |
| --- | --- | --- | --- |
| `PermanentError` | `INVALID_ARGUMENT` | 400 | drops it |
| `TooLargeError` | `INVALID_ARGUMENT` | 413 | drops it |
| `MessageTooLargeError` | `RESOURCE_EXHAUSTED` without `RetryInfo` | 413 | drops it |
| `UnauthenticatedError` | `UNAUTHENTICATED` | 401 | drops it |
| `ForbiddenError` | `PERMISSION_DENIED` | 403 | drops it |
| `OverloadError` | `RESOURCE_EXHAUSTED` with `RetryInfo` | 429, `Retry-After` | waits, sends again |
| `TransientError`, anything else | `UNAVAILABLE` with `RetryInfo` | 503, `Retry-After` | waits, sends again |

A gRPC message over the limit is refused as gRPC itself would: what is larger by far, also when it grows so
in decompression, gRPC refuses before a handler sees it. Without `RetryInfo` that is permanent in OTLP.
"""

import math
from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from headgate_processors.errors import (
    ForbiddenError,
    OverloadError,
    PermanentError,
    TooLargeError,
    TransientError,
    UnauthenticatedError,
)

RETRY_AFTER_S = 1.0
MAX_MESSAGE_CHARACTERS = 500


class MessageTooLargeError(TooLargeError):
    """A gRPC message is over the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a failed request; `retry_after_s` is None when sending it again cannot help."""

    code: grpc.StatusCode
    http: int
    message: str
    retry_after_s: float | None = None
    expected: bool = True

    @property
    def retry_after_header(self) -> str:
        """`Retry-After` in whole seconds, at least one."""
        return str(max(1, math.ceil(self.retry_after_s or 0)))

    def status(self) -> Status:
        """The `google.rpc.Status` of the answer, with `RetryInfo` when it may be sent again."""
        status = Status(code=self.code.value[0], message=self.message)
        if self.retry_after_s is not None:
            status.details.append(_retry_info(self.retry_after_s))
        return status


def answer_to(error: BaseException) -> Answer:
    """The answer to whatever receiving or ingesting a request raised.

    The text of an unexpected exception stays in our log: it may hold what is nobody else's business.
    """
    message = str(error)[:MAX_MESSAGE_CHARACTERS]
    match error:
        case MessageTooLargeError():
            return Answer(code=grpc.StatusCode.RESOURCE_EXHAUSTED, http=413, message=message)
        case TooLargeError():
            return Answer(code=grpc.StatusCode.INVALID_ARGUMENT, http=413, message=message)
        case UnauthenticatedError():
            return Answer(code=grpc.StatusCode.UNAUTHENTICATED, http=401, message=message)
        case ForbiddenError():
            return Answer(code=grpc.StatusCode.PERMISSION_DENIED, http=403, message=message)
        case PermanentError():
            return Answer(code=grpc.StatusCode.INVALID_ARGUMENT, http=400, message=message)
        case OverloadError(retry_after_s=after):
            return Answer(code=grpc.StatusCode.RESOURCE_EXHAUSTED, http=429, message=message, retry_after_s=after)
        case TransientError():
            return Answer(code=grpc.StatusCode.UNAVAILABLE, http=503, message=message, retry_after_s=RETRY_AFTER_S)
        case _:
            return Answer(
                code=grpc.StatusCode.UNAVAILABLE,
                http=503,
                message=f"unexpected {type(error).__name__} in the receiver, whose log says more; send again",
                retry_after_s=RETRY_AFTER_S,
                expected=False,
            )


def _retry_info(after_s: float) -> AnyMessage:
    delay = Duration()
    delay.FromNanoseconds(int(after_s * 1_000_000_000))
    packed = AnyMessage()
    packed.Pack(RetryInfo(retry_delay=delay))
    return packed
