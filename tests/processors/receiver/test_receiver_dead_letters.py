"""Refused bytes on disk: kept, closed to others, bounded, expired, and never a reason to fail."""

import stat
import threading
from pathlib import Path

import pytest

from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.dead_letters import DeadLetterConfig, DeadLetters, read_dead_letters
from headgate_processors.testing.waiting import PATIENCE_S

DAY_NS = 86_400 * 1_000_000_000
NOON = 20_780 * DAY_NS + DAY_NS // 2


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        """The time, in nanoseconds."""
        return self.now


def letters_in(folder: Path, counters: Counters | None = None, clock: Clock | None = None, **config) -> DeadLetters:
    """Dead letters in a folder that does not exist yet."""
    return DeadLetters(
        folder / "dead-letters",
        counters=counters or Counters(),
        config=DeadLetterConfig(**config),
        clock=clock or Clock(),
    )


def keep(letters: DeadLetters, raw: bytes = b"\x00\xff", reason: str = "invalid_utf8") -> None:
    """Keep one letter."""
    letters.keep(raw, signal=Signal.TRACES, encoding="protobuf", reason=reason, detail="span 3: bad \udcff name")


def outcomes(counters: Counters) -> dict[str, int]:
    """How many letters had which outcome."""
    every = {
        outcome: counters.value("headgate_receiver_dead_letters_total", outcome=outcome)
        for outcome in ("kept", "full", "failed", "off")
    }
    return {outcome: count for outcome, count in every.items() if count}


def test_a_letter_is_read_as_it_was_kept(tmp_path) -> None:
    """Bytes, reason, detail, signal and time come back; the file is named after the day."""
    letters = letters_in(tmp_path)
    keep(letters)
    (letter,) = read_dead_letters(tmp_path / "dead-letters")
    assert (b"\x00\xff", "invalid_utf8", "span 3: bad ? name") == (letter.raw, letter.reason, letter.detail)
    assert (Signal.TRACES, "protobuf", NOON, 2) == (
        letter.signal,
        letter.encoding,
        letter.received_unix_nano,
        letter.size_bytes,
    )
    assert ["2026-11-23.jsonl"] == [path.name for path in (tmp_path / "dead-letters").iterdir()]


def test_only_the_owner_may_read(tmp_path) -> None:
    """The bytes are not redacted: folder 0700, files 0600."""
    keep(letters_in(tmp_path))
    folder = tmp_path / "dead-letters"
    (file,) = folder.iterdir()
    assert (0o700, 0o600) == (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(file.stat().st_mode))


def test_letters_expire_after_seven_days(tmp_path) -> None:
    """The eighth day removes the first, by a new letter or by `expire`."""
    clock = Clock()
    letters = letters_in(tmp_path, clock=clock)
    for day in range(9):
        clock.now = NOON + day * DAY_NS
        keep(letters, str(day).encode())
    assert [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8"] == [
        letter.raw for letter in read_dead_letters(tmp_path / "dead-letters")
    ]
    clock.now += 3 * DAY_NS
    letters.expire()
    assert [b"4", b"5", b"6", b"7", b"8"] == [letter.raw for letter in read_dead_letters(tmp_path / "dead-letters")]


def test_the_oldest_days_make_room(tmp_path) -> None:
    """Over the cap the oldest day goes first; today's letters are never removed."""
    clock, counters = Clock(), Counters()
    letters = letters_in(tmp_path, counters, clock, max_bytes=1000)
    for day in range(3):
        clock.now = NOON + day * DAY_NS
        keep(letters, bytes([day]) * 150)
    keep(letters, b"\x02" * 150)
    days = [letter.raw[0] for letter in read_dead_letters(tmp_path / "dead-letters")]
    assert 2 == days.count(2)
    assert 0 not in days
    for _ in range(10):
        keep(letters, b"\x02" * 150)
    size = sum(path.stat().st_size for path in (tmp_path / "dead-letters").iterdir())
    assert size <= 1000
    assert outcomes(counters)["full"] > 0


def test_of_a_large_letter_the_beginning_is_kept(tmp_path) -> None:
    """A whole refused request may be 64 MiB: its beginning and its size are enough to find out why."""
    letters = letters_in(tmp_path, max_letter_bytes=10)
    keep(letters, bytes(1000))
    (letter,) = read_dead_letters(tmp_path / "dead-letters")
    assert (10, 1000) == (len(letter.raw), letter.size_bytes)


def test_switched_off_nothing_is_written_and_all_is_counted(tmp_path) -> None:
    """Without the bytes the reasons are still counted."""
    counters = Counters()
    keep(letters_in(tmp_path, counters, enabled=False))
    assert not (tmp_path / "dead-letters").exists()
    assert {"off": 1} == outcomes(counters)


def test_a_disk_that_fails_fails_nothing_else(tmp_path) -> None:
    """Where no file can be written the loss is counted, and the caller never hears of it."""
    counters = Counters()
    (tmp_path / "dead-letters").write_text("a file where the folder should be")
    letters = letters_in(tmp_path, counters)
    keep(letters)
    letters.expire()
    assert {"failed": 1} == outcomes(counters)


def test_letters_of_many_threads_stay_whole(tmp_path) -> None:
    """Lines of different threads do not mix."""
    letters = letters_in(tmp_path)

    def keep_many() -> None:
        for _ in range(20):
            keep(letters, b"x" * 5000)

    threads = [threading.Thread(target=keep_many, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [5000] * 80 == [len(letter.raw) for letter in read_dead_letters(tmp_path / "dead-letters")]


def test_a_line_that_a_crash_cut_short_is_passed_over(tmp_path) -> None:
    """What was written before it is still read."""
    letters = letters_in(tmp_path)
    keep(letters)
    (file,) = (tmp_path / "dead-letters").iterdir()
    with file.open("ab") as lines:
        lines.write(b'{"received_unix_na')
    assert 1 == len(list(read_dead_letters(tmp_path / "dead-letters")))


@pytest.mark.parametrize("reason", ["zero_id", "truncated"])
def test_refusals_are_counted_by_reason(tmp_path, reason) -> None:
    """Signal and reason tell an operator what to look for."""
    counters = Counters()
    keep(letters_in(tmp_path, counters), reason=reason)
    assert 1 == counters.value("headgate_receiver_dead_letters_total", signal="traces", reason=reason, outcome="kept")


def test_a_letter_that_was_cut_short_costs_no_other(tmp_path: Path) -> None:
    """A crash or a full disk leaves half a line: the next letter begins a line of its own."""
    letters = letters_in(tmp_path)
    keep(letters, b"before")
    (path,) = (tmp_path / "dead-letters").iterdir()
    with path.open("ab") as file:
        file.write(b'{"received_unix_nano":1,"raw":"b')
    for raw in (b"after", b"last"):
        keep(letters, raw)
    found = [letter.raw for letter in read_dead_letters(tmp_path / "dead-letters")]
    assert [b"before", b"after", b"last"] == found
