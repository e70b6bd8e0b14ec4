"""Record ids and suspect times."""

from collections.abc import Sequence
from hashlib import blake2b

import pyarrow as pa

DAY_NS = 86_400 * 1_000_000_000
PAST_MAX_NS = 366 * DAY_NS
FUTURE_MAX_NS = DAY_NS


def span_record_id(trace_id: str, span_id: str) -> str:
    """The record id of a span: its trace and span ids."""
    return trace_id + span_id


def content_hash(*parts: object) -> str:
    """The hash of everything that makes a record what it is, 32 hexadecimal digits.

    It has no key: two receivers must give the same record the same id.
    """
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(str(part).encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()


def ordinals(hashes: Sequence[str], blocks: Sequence[int]) -> list[str]:
    """Ids from hashes: the n-th equal record of one block gets ordinal n.

    `blocks` says how many of the hashes each block has. A block is a `Scope*` message, not a request: of two
    requests, one of which repeats the other, a Collector may make one.
    """
    ids: list[str] = []
    start = 0
    for count in blocks:
        seen: dict[str, int] = {}
        for value in hashes[start : start + count]:
            ordinal = seen.get(value, 0)
            seen[value] = ordinal + 1
            ids.append(f"{value}-{ordinal}")
        start += count
    return ids


def suspects(at_unix_nano: Sequence[int], received_unix_nano: Sequence[int]) -> pa.Array:
    """Whether each time cannot be right: more than a year before it was received, or more than a day after."""
    pairs = zip(at_unix_nano, received_unix_nano, strict=True)
    return pa.array([not -FUTURE_MAX_NS <= received - at <= PAST_MAX_NS for at, received in pairs], pa.bool_())
