"""What one request may ask of a decoder."""

from headgate_processors.errors import TooLargeError
from headgate_processors.otlp.wire import UnreadableError

MAX_NESTING = 64
"""Lists and objects of an attribute value may nest this deep."""

MAX_RECORDS = 1_000_000
"""Records of one request. A span that says anything has 60 bytes, so 64 MiB of real ones stay below."""


def check_nesting(depth: int) -> None:
    """Raise `too_deep` past the depth that a value may have."""
    if depth > MAX_NESTING:
        raise UnreadableError("too_deep", f"lists and objects nest deeper than {MAX_NESTING}")


def check_record_count(count: int) -> None:
    """Raise past the number of records that a request may have.

    Raises:
        TooLargeError: it is past.
    """
    if count > MAX_RECORDS:
        raise TooLargeError(f"an OTLP request may hold {MAX_RECORDS:,} records; send smaller batches")
