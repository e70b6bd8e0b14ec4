from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.segment import HEADER, Commit, Gap, SegmentWriter, read_segment
from headgate_processors.testing.rows import batch, child, span


def commit(*numbers: int, unsettled: bool = False) -> Commit:
    """One commit of spans, each with an event."""
    spans = [span(number, service_name=f"service-{number}") for number in numbers]
    batches = {"spans": batch("spans", spans), "span_events": batch("span_events", map(child, spans))}
    return Commit(batches=batches, unsettled=frozenset({"spans"} if unsettled else ()))


def write(path: Path, commits: Sequence[Commit]) -> list[int]:
    """A segment with these commits; where each frame ends."""
    writer = SegmentWriter(path, LocalDisk())
    ends = []
    for one in commits:
        writer.append(one)
        ends.append(writer.bytes)
    writer.close()
    return ends


def rows(path: Path, size: int | None = None) -> tuple[int, int]:
    """How many spans and events can be read from the first bytes of a segment."""
    found = read_segment(path.read_bytes()[:size])
    counts = [
        sum(tables[name].num_rows for tables in (found.settled, found.unsettled) if name in tables)
        for name in ("spans", "span_events")
    ]
    return counts[0], counts[1]


def test_commits_come_back_with_their_values(tmp_path: Path) -> None:
    """What was written is read, dictionaries of different commits included."""
    commits = [commit(1, 2), commit(3), commit(1, 4)]
    write(tmp_path / "s", commits)

    found = read_segment((tmp_path / "s").read_bytes())

    expected = [row for one in commits for row in one.batches["spans"].to_pylist()]
    assert expected == found.settled["spans"].to_pylist()
    assert 3 == found.frames
    assert 0 == found.cut_bytes


def test_unsettled_rows_are_told_apart(tmp_path: Path) -> None:
    """A commit that may repeat older records keeps that mark on disk, for its dataset only."""
    write(tmp_path / "s", [commit(1), commit(2, unsettled=True), commit(3)])

    found = read_segment((tmp_path / "s").read_bytes())

    assert ["span 1", "span 3"] == found.settled["spans"].column("name").to_pylist()
    assert ["span 2"] == found.unsettled["spans"].column("name").to_pylist()
    assert 3 == found.settled["span_events"].num_rows


@pytest.mark.slow
def test_a_last_frame_cut_at_any_byte_is_left_out_whole(tmp_path: Path) -> None:
    """A frame is there for all datasets or for none, wherever the file ends."""
    pieces = [
        Commit(
            batches={name: batch(name, [child(span(number))]) for name in ("content", "span_links")},
            unsettled=frozenset(),
        )
        for number in (1, 2)
    ]
    first, second = write(tmp_path / "s", pieces)
    content = (tmp_path / "s").read_bytes()

    seen = set()
    for size in range(first, second):
        found = read_segment(content[:size])
        seen.add((found.rows, found.good_bytes, found.good_bytes + found.cut_bytes == size))

    assert {(2, first, True)} == seen
    assert 4 == read_segment(content).rows


@pytest.mark.parametrize("offset", [0, 4, 12, 16, 24, 40, 400, -1])
def test_a_damaged_frame_hides_itself_alone(tmp_path: Path, offset: int) -> None:
    """A flipped bit in magic, place, length, checksum, directory or content hides that frame; the next is read."""
    first, second, third = write(tmp_path / "s", [commit(1), commit(2), commit(3)])
    content = bytearray((tmp_path / "s").read_bytes())
    content[(second if offset < 0 else first) + offset] ^= 1
    (tmp_path / "s").write_bytes(content)

    found = read_segment(bytes(content))

    assert (2, 2) == rows(tmp_path / "s")
    assert (Gap(offset=first, bytes=second - first, torn=False),) == found.gaps == found.damage
    assert third == found.good_bytes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut", "flip", "noise"])
def test_damage_at_any_byte_costs_no_frame_but_the_one_it_is_in(tmp_path: Path, kind: str) -> None:
    """Wherever a segment is cut, a bit flipped or bytes overwritten: every other frame is read, and the gap is told."""
    pieces = [
        Commit(batches={"content": batch("content", [child(span(number))])}, unsettled=frozenset())
        for number in range(3)
    ]
    ends = write(tmp_path / "s", pieces)
    content = (tmp_path / "s").read_bytes()
    starts = [len(HEADER), *ends[:-1]]
    every = [found["record_id"] for piece in pieces for found in piece.batches["content"].to_pylist()]

    for offset in range(len(content)):
        first, last = offset, len(content) if kind == "cut" else offset + (16 if kind == "noise" else 1)
        damaged = bytearray(content)
        if kind == "cut":
            del damaged[offset:]
        else:
            damaged[first:last] = bytes(byte ^ 0x55 for byte in damaged[first:last])
        found = read_segment(bytes(damaged))

        whole = [end <= first or start >= last for start, end in zip(starts, ends, strict=True)]
        shown = found.settled["content"].column("record_id").to_pylist() if found.frames else []
        assert [record_id for record_id, good in zip(every, whole, strict=True) if good] == shown
        expected = len(damaged) - sum(end - start for start, end, good in zip(starts, ends, whole, strict=True) if good)
        header = len(HEADER) if damaged[: len(HEADER)] == HEADER else 0
        assert expected - header == found.cut_bytes
        assert (kind == "cut" or bool(found.damage)) is True


def test_a_frame_inside_content_is_no_frame(tmp_path: Path) -> None:
    """Bytes of a frame that somebody sent as content do not become rows when the frame around them is damaged."""
    write(tmp_path / "inner", [commit(7)])
    frame = (tmp_path / "inner").read_bytes()[len(HEADER) :]
    outer = pa.RecordBatch.from_pydict({"blob": pa.array([frame], pa.binary())})
    write(tmp_path / "s", [Commit(batches={"blob": outer}, unsettled=frozenset())])
    content = bytearray((tmp_path / "s").read_bytes())
    content[len(HEADER)] ^= 1

    found = read_segment(bytes(content))

    assert (0, 0) == (found.frames, found.rows)


@pytest.mark.parametrize("content", [b"", b"headgate", b"something else that is no segment at all"])
def test_a_file_without_a_header_holds_nothing(content: bytes) -> None:
    """A segment that crashed before its first commit is empty, not an error."""
    found = read_segment(content)

    assert (0, 0, len(content)) == (found.rows, found.frames, found.cut_bytes)


def test_large_values_survive(tmp_path: Path) -> None:
    """Values larger than the stream's buffer go through whole."""
    text = "x" * 3_000_000
    content = batch("content", [child(span(1), text=text)])
    write(tmp_path / "s", [Commit(batches={"content": content}, unsettled=frozenset())])

    found = read_segment((tmp_path / "s").read_bytes())

    assert [text] == found.settled["content"].column("text").to_pylist()


def test_a_batch_that_is_a_slice_is_written_as_such(tmp_path: Path) -> None:
    """Only the rows of the slice are kept."""
    whole = batch("spans", [span(number) for number in range(10)])
    write(tmp_path / "s", [Commit(batches={"spans": whole.slice(4, 2)}, unsettled=frozenset())])

    found: pa.Table = read_segment((tmp_path / "s").read_bytes()).settled["spans"]

    assert ["span 4", "span 5"] == found.column("name").to_pylist()
