"""The reader of protobuf's wire format."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_processors.otlp.wire import (
    Field,
    UnreadableError,
    encode_varint,
    fields,
    frame,
    read_varint,
)


@given(value=st.integers(0, 2**64 - 1), before=st.binary(max_size=3), after=st.binary(max_size=3))
def test_integers_survive_the_wire(value: int, before: bytes, after: bytes) -> None:
    """Every unsigned 64-bit integer is read back, wherever it stands."""
    encoded = encode_varint(value)
    buffer = before + encoded + after
    assert (value, len(before) + len(encoded)) == read_varint(buffer, len(before), len(buffer))


@given(body=st.binary(max_size=40))
def test_fields_never_leave_their_message(body: bytes) -> None:
    """Whatever the bytes, the fields that are given lie in them one after the other."""
    end = 3 + len(body)
    position = 3
    with suppress(UnreadableError):
        for field in fields(b"\x0a\x7f\x12" + body + b"\x0a\x01\x00", 3, end):
            assert position == field.tag < field.start <= field.stop <= end
            position = field.stop
        assert end == position


def test_a_field_is_framed_by_number_and_length() -> None:
    """What `frame` writes, `fields` reads."""
    body = frame(1, b"abc") + frame(2000, b"x" * 300)
    assert [(1, b"abc"), (2000, b"x" * 300)] == [
        (field.number, body[field.start : field.stop]) for field in fields(body, 0, len(body))
    ]


def test_a_group_is_one_field_to_its_end() -> None:
    """A group within a group, and fields in both, are passed over together."""
    body = b"\x0b\x08\x01\x13\x12\x01z\x14\x0c\x08\x05"
    assert [Field(1, 3, 0, 1, 9), Field(1, 0, 9, 10, 11)] == list(fields(body, 0, len(body)))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x08", "truncated"),
        (b"\x08\x80", "truncated"),
        (b"\x09" + b"\x00" * 7, "truncated"),
        (b"\x0d\x00\x00\x00", "truncated"),
        (b"\x0a\x02x", "truncated"),
        (b"\x0b\x08\x01", "truncated"),
        (b"\x0b\x0a\x05\x0c", "truncated"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "malformed"),
        (b"\x00\x01", "malformed"),
        (b"\x0c", "malformed"),
        (b"\x0e", "malformed"),
        (b"\x0f", "malformed"),
        (b"\x0b" * 40, "too_deep"),
    ],
    ids=repr,
)
def test_what_is_wrong_has_a_name(body: bytes, reason: str) -> None:
    """Bytes that end too early are told from bytes that are not protobuf."""
    with pytest.raises(UnreadableError) as raised:
        list(fields(body, 0, len(body)))
    assert reason == raised.value.reason
