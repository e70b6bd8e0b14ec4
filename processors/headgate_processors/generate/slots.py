"""What changes from one made session to the next, and where it stands in bytes.

Every id, word and claim of a recorded session is a slot. What stands in the slots of one made session are
the bytes of its *pool*; `Places` says which byte of a text comes from which byte of the pool. All keep their
length, so a session is made by copying bytes, and nothing is encoded again.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headgate_processors.generate.randomness import Bytes, random_bytes
from headgate_processors.generate.recorded import BLANK, TAIL
from headgate_processors.generate.vocabulary import EACH, LONGEST, SHORTEST, vocabulary

Indices = npt.NDArray[np.int64]
Claims = dict[str, int]

_SHAPE = re.compile(
    rb"(?<![0-9A-Za-z])(?:"
    rb"(?P<uuid>[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})"
    rb"|(?P<ulid>[0-7][0-9A-HJKMNP-TV-Z]{25})|(?P<hex>[0-9a-fA-F]{32}))(?![0-9A-Za-z])"
)
_DIGITS = re.compile(rb"(?<![0-9A-Za-z])(?:[0-9a-f]{48}|[0-9a-f]{16})(?![0-9A-Za-z])")
_CLAIM = re.compile(rb"(?P<name>team|workflow|user|repo)-(?P<blank>" + BLANK.encode() + rb"+)")
_WORD = re.compile(rb"\\[a-z]|[0-9A-Za-z]+")
_TAIL = re.compile(TAIL.encode())

_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint8).reshape(256, 2)
_HEX_UPPER = np.frombuffer(b"".join(b"%02X" % byte for byte in range(256)), np.uint8).reshape(256, 2)
_CROCKFORD = np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", np.uint8)
_LETTERS = np.frombuffer(b"0123456789abcdefghijklmnopqrstuv", np.uint8)
_CLAIM_DIGITS = {b"team": 2, b"workflow": 2, b"user": 4, b"repo": 2}
_CLAIM_STARTS = {b"team": 0, b"workflow": 2, b"user": 4, b"repo": 8}
# Version and variant of a UUID, in bytes 6 and 8; a trace id that is written as one stays the same id.
_KEPT_NIBBLES = (6, 8)

_RAW16, _LOW16, _UP16, _RAW8, _LOW8, _ULID, _TAILS, _CLAIMS, _WORDS = range(9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Byte `at[i]` of a text is byte `source[i]` of the pool."""

    at: Indices
    source: Indices


@dataclass(slots=True)
class Slots:
    """The slots of one recorded session. First `find` in all its texts, then `settle`, then `pool`."""

    words: frozenset[bytes]
    ids: dict[bytes, int] = field(default_factory=dict)
    spans: dict[bytes, int] = field(default_factory=dict)
    ulids: dict[bytes, int] = field(default_factory=dict)
    word_starts: dict[bytes, int] = field(default_factory=dict)
    traces: set[int] = field(default_factory=set)

    def text(self, text: bytes, at: int, found: "Found") -> None:
        """Find every slot in a text whose first byte is byte `at`."""
        for match in _SHAPE.finditer(text):
            self._shape(match, at, found)
        for match in _DIGITS.finditer(text):
            self._digits(match[0], at + match.start(), found)
        if TAIL.encode() in text:
            for match in _TAIL.finditer(text):
                found.add(_TAILS, at + match.start() + 1, range(len(TAIL) - 1))
        for match in _CLAIM.finditer(text):
            start = _CLAIM_STARTS[match["name"]]
            found.add(_CLAIMS, at + match.start("blank"), range(start, start + len(match["blank"])))
        for match in _WORD.finditer(text):
            if match[0] in self.words:
                start = self.word_starts.setdefault(match[0], _total(self.word_starts))
                found.add(_WORDS, at + match.start(), range(start, start + len(match[0])))

    def trace_id(self, raw: bytes, at: int, found: "Found") -> None:
        """A trace id of 16 bytes."""
        place = self.ids.setdefault(raw, len(self.ids))
        self.traces.add(place)
        found.add(_RAW16, at, range(16 * place, 16 * place + 16))

    def span_id(self, raw: bytes, at: int, found: "Found") -> None:
        """A span id of 8 bytes."""
        place = self.spans.setdefault(raw, len(self.spans))
        found.add(_RAW8, at, range(8 * place, 8 * place + 8))

    def _shape(self, match: "re.Match[bytes]", at: int, found: "Found") -> None:
        if match["ulid"] is not None and match["hex"] is None:
            place = self.ulids.setdefault(match[0], len(self.ulids))
            found.add(_ULID, at + match.start(), range(26 * place, 26 * place + 26))
            return
        plain = match[0].replace(b"-", b"").decode()
        place = self.ids.setdefault(bytes.fromhex(plain), len(self.ids))
        region = _UP16 if plain.isupper() else _LOW16
        digits = [number for number, char in enumerate(match[0]) if char != ord("-")]
        for source, digit in enumerate(digits, 32 * place):
            found.add(region, at + match.start() + digit, range(source, source + 1))

    def _digits(self, digits: bytes, at: int, found: "Found") -> None:
        raw = bytes.fromhex(digits.decode())
        if len(raw) == 24:
            # The record id of a span: its trace and its own id.
            place = self.ids.setdefault(raw[:16], len(self.ids))
            found.add(_LOW16, at, range(32 * place, 32 * place + 32))
            at, raw = at + 32, raw[16:]
        if raw in self.spans:
            place = self.spans[raw]
            found.add(_LOW8, at, range(16 * place, 16 * place + 16))

    def settle(self) -> "Layout":
        """What the pools look like; nothing may be found any more."""
        return Layout(self)


@dataclass(slots=True)
class Found:
    """Slots found in one text, until the layout of the pool is known."""

    regions: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    source: list[int] = field(default_factory=list)

    def add(self, region: int, at: int, source: range) -> None:
        """Note that the bytes from `at` on are those of `source` in a region of the pool."""
        self.regions += [region] * len(source)
        self.at += range(at, at + len(source))
        self.source += source


class Layout:
    """Makes the pools of sessions, and turns what was found into places."""

    def __init__(self, slots: Slots) -> None:
        self._kept = np.frombuffer(b"".join(slots.ids), np.uint8).reshape(-1, 16)
        self._spans, self._ulids = len(slots.spans), len(slots.ulids)
        self._words = list(slots.word_starts)
        letters = [np.arange(len(word)) for word in self._words]
        tables = [_table(word) for word in self._words]
        self._vocabulary, firsts = _joined_tables(tables)
        self._word_lengths = np.array([len(word) for word in self._words], np.int64)
        self._letters = np.concatenate(letters) if letters else np.zeros(0, np.int64)
        self._firsts = np.array([firsts[table] for table in tables], np.int64)
        sizes = (
            *(len(self._kept) * size for size in (16, 32, 32)),
            *(self._spans * size for size in (8, 16)),
            26 * self._ulids,
            len(TAIL) - 1,
            sum(_CLAIM_DIGITS.values()),
            len(self._letters),
        )
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._traces = sorted(slots.traces)

    @property
    def size(self) -> int:
        """Bytes of a pool."""
        return int(self._starts[-1])

    def places(self, found: Found) -> Places:
        """What was found, as places of this layout."""
        regions = np.array(found.regions, np.int64)
        return Places(at=np.array(found.at, np.int64), source=self._starts[regions] + np.array(found.source, np.int64))

    def trace_ids(self, pool: Bytes) -> Iterator[str]:
        """The traces of the session with this pool, in hexadecimal."""
        for place in self._traces:
            yield pool[self._starts[_LOW16] :][32 * place : 32 * place + 32].tobytes().decode()

    def pool(self, seed: int, number: int, claims: Claims) -> Bytes:
        """The pool of session `number`; what is found first is the same whatever else is found."""
        ids = random_bytes(seed, number, "ids", size=16 * len(self._kept)).reshape(-1, 16)
        return np.concatenate(
            (
                *_written(_with_kept(ids, self._kept).reshape(-1), upper=True),
                *_written(random_bytes(seed, number, "spans", size=8 * self._spans)),
                _as_ulids(random_bytes(seed, number, "ulids", size=26 * self._ulids)),
                _LETTERS[random_bytes(seed, number, "tail", size=len(TAIL) - 1) & 31],
                _claimed(claims),
                self._picked(random_bytes(seed, number, "words", size=2 * len(self._words)).view(np.dtype("<u2"))),
            )
        )

    def _picked(self, drawn: npt.NDArray[np.uint16]) -> Bytes:
        """The letters of a word for each; the first words of the vocabulary are taken most often."""
        chance = drawn.astype(np.int64)
        picks = (chance * chance * EACH) >> 32
        rows = self._firsts + picks * self._word_lengths
        letters: Bytes = self._vocabulary[np.repeat(rows, self._word_lengths) + self._letters]
        return letters


def filled(text: Bytes, places: Places, pools: Bytes) -> Bytes:
    """Copies of a text, one for each row of `pools`, with what stands in its slots."""
    copies = np.repeat(text[np.newaxis], len(pools), axis=0)
    copies[:, places.at] = pools[:, places.source]
    return copies


def is_free_word(word: str) -> bool:
    """Whether there are other words that could stand in its place."""
    return SHORTEST <= len(word) <= LONGEST and word.isascii() and word.isalpha() and word[1:].islower()


def claims_of(chances: Iterable[float]) -> Claims:
    """Team, workflow, user and repository of a session from three chances: few workflows do most of the work."""
    popular, person, place = chances
    workflow = int(40 * popular * popular)
    return {"workflow": workflow, "team": workflow % 12, "user": int(400 * person), "repo": int(60 * place)}


def _claimed(claims: Claims) -> Bytes:
    digits = "".join(f"{claims[name.decode()]:0{width}d}" for name, width in _CLAIM_DIGITS.items())
    return np.frombuffer(digits.encode(), np.uint8)


def _with_kept(raw: Bytes, kept: Bytes) -> Bytes:
    ids = raw.copy()
    for place in _KEPT_NIBBLES:
        ids[:, place] = (ids[:, place] & 0x0F) | (kept[:, place] & 0xF0)
    return ids


def _written(raw: Bytes, *, upper: bool = False) -> Sequence[Bytes]:
    """The bytes, and their hexadecimal digits."""
    low = _HEX[raw].reshape(-1)
    return (raw, low, _HEX_UPPER[raw].reshape(-1)) if upper else (raw, low)


def _as_ulids(raw: Bytes) -> Bytes:
    letters: Bytes = _CROCKFORD[raw & 31]
    letters[::26] = ord("0")
    return letters


def _table(word: bytes) -> tuple[int, bool]:
    return len(word), word[:1].isupper()


def _joined_tables(tables: Sequence[tuple[int, bool]]) -> tuple[Bytes, dict[tuple[int, bool], int]]:
    """The vocabularies that are needed, one behind the other, and where each begins."""
    firsts: dict[tuple[int, bool], int] = {}
    parts: list[Bytes] = [np.zeros(0, np.uint8)]
    size = 0
    for length, is_capital in sorted(set(tables)):
        firsts[length, is_capital] = size
        parts.append(vocabulary(length, is_capital=is_capital).reshape(-1))
        size += EACH * length
    return np.concatenate(parts), firsts


def _total(starts: dict[bytes, int]) -> int:
    """Where the next word begins: behind the last one."""
    if not starts:
        return 0
    word = next(reversed(starts))
    return starts[word] + len(word)
