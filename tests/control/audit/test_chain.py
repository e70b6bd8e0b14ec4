"""Chains: any byte that is edited, any record that is dropped or swapped is found, the last one too."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_control.audit.chain import Anchor, Chain, Fault, Record, faults

BODIES = [{"who": "ada", "what": f"change {number}"} for number in range(5)]


def chain(bodies: Sequence[dict[str, str]] = BODIES) -> tuple[list[Record], Anchor]:
    """A chain and its head."""
    made = Chain("control-1")
    return [made.add(body) for body in bodies], made.anchor


def found(records: Sequence[Record], anchor: Anchor) -> list[tuple[int, str]]:
    """What is wrong, and where."""
    return [(fault.number, fault.problem) for fault in faults(records, anchors=[anchor])]


def test_a_chain_that_nobody_touched_has_no_fault() -> None:
    """With the anchors of every moment."""
    records, anchor = chain()
    earlier = Anchor(writer="control-1", number=2, digest=records[1].digest)
    nothing = Anchor(writer="control-1", number=0, digest="0" * 64)
    assert [] == list(faults(records, anchors=[nothing, earlier, anchor]))


def test_an_edited_record_is_found_where_it_stands() -> None:
    """Its digest is another; whoever mends that too breaks the next one, or the anchor."""
    records, anchor = chain()
    edited = Chain("control-1", number=1, head=records[0].digest).add({"who": "eve"})
    kept = Record(writer="control-1", number=2, previous=records[0].digest, body=edited.body, digest=records[1].digest)
    assert [(2, "it was changed: its digest is another")] == found([records[0], kept, *records[2:]], anchor)
    assert [(3, "it does not follow the record before it")] == found([records[0], edited, *records[2:]], anchor)
    assert [(2, "it is not the record that was anchored here")] == found([records[0], edited], edited_anchor(records))


def edited_anchor(records: Sequence[Record]) -> Anchor:
    """The head that a chain had after its second record."""
    return Anchor(writer="control-1", number=2, digest=records[1].digest)


@pytest.mark.parametrize("dropped", range(5))
def test_a_dropped_record_is_found(dropped: int) -> None:
    """The last one by the anchor alone."""
    records, anchor = chain()
    left = [*records[:dropped], *records[dropped + 1 :]]
    expected = (
        [(5, "the chain has 4 records, and 5 were anchored: its end is missing")]
        if dropped == 4
        else [
            (dropped + 2, f"it stands where record {dropped + 1} should"),
            (dropped + 2, "it does not follow the record before it"),
        ]
    )
    assert expected == found(left, anchor)


def test_an_empty_chain_of_which_a_head_is_known_is_found() -> None:
    """Whoever deletes everything is found too."""
    _, anchor = chain()
    assert [
        Fault(writer="control-1", number=5, problem="the chain has 0 records, and 5 were anchored: its end is missing")
    ] == list(faults([], anchors=[anchor]))


@given(st.permutations(range(5)))
def test_records_in_another_order_are_found(order: list[int]) -> None:
    """Whatever the order is."""
    records, anchor = chain()
    assert (order == sorted(order)) == (not found([records[place] for place in order], anchor))


def test_a_record_of_another_chain_is_found() -> None:
    """Its writer is part of what is digested."""
    records, anchor = chain()
    other = Chain("control-2", number=1, head=records[0].digest).add(BODIES[1])
    assert "it is of writer 'control-2' in the chain of 'control-1'" == found([records[0], other], anchor)[0][1]


@given(st.data())
def test_any_byte_of_any_line_that_is_changed_is_found(data: st.DataObject) -> None:
    """It is no record any more, or the chain has a fault."""
    records, anchor = chain()
    number = data.draw(st.integers(0, 4))
    line = bytearray(records[number].line())
    place = data.draw(st.integers(0, len(line) - 1))
    line[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = Record.parse(bytes(line))
    except ValueError:
        return
    assert [] != found([*records[:number], changed, *records[number + 1 :]], anchor)


def test_a_line_is_the_record_again() -> None:
    """Byte for byte."""
    records, _ = chain()
    assert records == [Record.parse(record.line()) for record in records]


@pytest.mark.parametrize("line", [b"", b"{}\n", b"[]\n", b'{"writer":1}\n', b"\xff\n"])
def test_a_line_that_is_no_record_is_refused(line: bytes) -> None:
    """As what it is."""
    with pytest.raises(ValueError, match="no record of a chain"):
        Record.parse(line)
