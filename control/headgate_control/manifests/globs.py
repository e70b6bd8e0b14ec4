"""Patterns of names and paths: whether one matches a text, and whether everything it matches another matches too.

In a name `*` stands for any text and `?` for one character but `/`. In a path `*` and `?` stop at `/`, `**` does
not, and a pattern matches what lies below it as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from itertools import takewhile
from typing import Literal

import re2

PATTERN_CHARS_MAX = 512
PATTERNS_CACHED_MAX = 4096


class Wild(Enum):
    """A part of a pattern that stands for other text."""

    ANY = "**"
    SEGMENT = "*"
    ONE = "?"


Token = str | Wild
_MANY = frozenset({Wild.ANY, Wild.SEGMENT})
Kind = Literal["name", "path"]


@dataclass(frozen=True, slots=True)
class Glob:
    """One pattern."""

    text: str
    kind: Kind = "name"
    _tokens: tuple[Token, ...] = field(init=False, repr=False, compare=False)
    _head: str = field(init=False, repr=False, compare=False)
    """The letters before the first wildcard: what tells most patterns apart without a look at the rest."""

    def __post_init__(self) -> None:
        tokens = _tokens(self.text, self.kind)
        object.__setattr__(self, "_tokens", tokens)
        object.__setattr__(self, "_head", "".join(takewhile(lambda one: isinstance(one, str), tokens)))  # type: ignore[arg-type]

    def matches(self, text: str) -> bool:
        """Whether it stands for `text`, which is taken letter by letter."""
        settled = settled_path(text) if self.kind == "path" else text
        if settled is None:
            return False
        return _matcher(self._tokens)(settled if self.kind == "name" else settled + "/")

    def covers(self, other: "Glob") -> bool:
        """Whether it matches all that `other` matches. Sound; of patterns with many `*` it may deny what holds."""
        if self.kind != other.kind or not other._head.startswith(self._head):
            return False
        if other.is_plain:
            return _matcher(self._tokens)(other._head)
        return _covers(self._tokens, other._tokens)

    def meets(self, other: "Glob") -> bool:
        """Whether some text matches both."""
        return self.kind == other.kind and not self.is_apart(other) and _meets(self._tokens, other._tokens)

    @property
    def is_plain(self) -> bool:
        """Whether it has no wildcard."""
        return len(self._head) == len(self._tokens)

    def is_apart(self, other: "Glob") -> bool:
        """Whether their first letters alone say that no text matches both."""
        return not (self._head.startswith(other._head) or other._head.startswith(self._head))


def settled_path(text: str) -> str | None:
    """A path without `.`, `..` and doubled `/`; None where it leads out of where it is relative to, or is empty."""
    if not text or "\0" in text or "\\" in text:
        return None
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return ("/" if text.startswith("/") else "./") + "/".join(parts)


@lru_cache(maxsize=PATTERNS_CACHED_MAX)
def _tokens(text: str, kind: Kind) -> tuple[Token, ...]:
    if len(text) > PATTERN_CHARS_MAX:
        raise ValueError(f"a pattern of {len(text)} characters; {PATTERN_CHARS_MAX} are allowed")
    if kind == "name":
        wild: dict[str, Token] = {"*": Wild.ANY, "?": Wild.ONE}
        return tuple(wild.get(letter, letter) for letter in text)
    settled = settled_path(text)
    if settled is None:
        raise ValueError(f"{text!r} is no path inside the workspace, and none from /: `..` may not lead out")
    return (*_path_tokens(settled if settled.endswith("/") else settled + "/"), Wild.ANY)


@lru_cache(maxsize=PATTERNS_CACHED_MAX)
def glob(text: str, kind: Kind = "name") -> Glob:
    """A pattern, the same object for the same text.

    Raises:
        ValueError: as the class.
    """
    return Glob(text, kind)


@lru_cache(maxsize=PATTERNS_CACHED_MAX)
def _matcher(tokens: tuple[Token, ...]) -> Callable[[str], bool]:
    """What tells the texts that the tokens stand for; in RE2 the time grows with the text alone."""
    wildcards = [place for place, token in enumerate(tokens) if isinstance(token, Wild)]
    if not wildcards:
        return "".join(map(str, tokens)).__eq__
    if wildcards == [len(tokens) - 1] and tokens[-1] is Wild.ANY:
        start = "".join(map(str, tokens[:-1]))
        return lambda text: text.startswith(start)
    wild = {Wild.ANY: "(?s:.*)", Wild.SEGMENT: "[^/]*", Wild.ONE: "[^/]"}
    pattern = re2.compile("".join(wild[one] if isinstance(one, Wild) else re2.escape(one) for one in tokens))
    return lambda text: pattern.fullmatch(text) is not None


def _path_tokens(text: str) -> list[Token]:
    found: list[Token] = []
    place = 0
    while place < len(text):
        if text.startswith("**", place):
            found.append(Wild.ANY)
            place += 2
            continue
        found.append({"*": Wild.SEGMENT, "?": Wild.ONE}.get(text[place], text[place]))
        place += 1
    return found


def _covers(wide: Sequence[Token], narrow: Sequence[Token]) -> bool:
    """Whether `wide` matches every text of `narrow`: a wildcard of `narrow` is taken by one at least as wide.

    The set of places in `wide` that can be reached grows token by token, so the time is bounded by the product of
    both lengths.
    """
    reached = _opened({0}, wide)
    for token in narrow:
        after: set[int] = set()
        for place in reached:
            if place < len(wide) and _takes(wide[place], token):
                after.add(place if wide[place] in {Wild.ANY, Wild.SEGMENT} else place + 1)
        reached = _opened(after, wide)
        if not reached:
            return False
    return len(wide) in reached


def _meets(one: Sequence[Token], other: Sequence[Token]) -> bool:
    """Whether a text is of both, letter by letter; the time is bounded by the product of both lengths."""
    ends, seen = (len(one), len(other)), {(0, 0)}
    left = [(0, 0)]
    while left:
        first, second = left.pop()
        if (first, second) == ends:
            return True
        for place in _after(one, other, first, second) - seen:
            seen.add(place)
            left.append(place)
    return False


def _after(one: Sequence[Token], other: Sequence[Token], first: int, second: int) -> set[tuple[int, int]]:
    """Where both may go on: a wildcard that stands for nothing more, or a letter that both take."""
    mine = one[first] if first < len(one) else None
    theirs = other[second] if second < len(other) else None
    found = {(first + 1, second)} if mine in _MANY else set()
    found |= {(first, second + 1)} if theirs in _MANY else set()
    if mine is not None and theirs is not None and _share(mine, theirs):
        found.add((first + (mine not in _MANY), second + (theirs not in _MANY)))
    return found


def _share(one: Token, other: Token) -> bool:
    """Whether some letter is of both."""
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    return not {one, other} & {"/"} or Wild.ANY in {one, other}


def _opened(places: set[int], wide: Sequence[Token]) -> set[int]:
    """The places, and those behind wildcards that may stand for nothing."""
    found: set[int] = set()
    for place in places:
        while place not in found:
            found.add(place)
            if place >= len(wide) or wide[place] not in {Wild.ANY, Wild.SEGMENT}:
                break
            place += 1  # noqa: PLW2901 - the next place, from here
    return found


def _takes(wide: Token, narrow: Token) -> bool:
    """Whether one part of a pattern stands for one part of a narrower one."""
    if wide is Wild.ANY:
        return True
    if wide is Wild.SEGMENT:
        return narrow not in {Wild.ANY, "/"}
    if wide is Wild.ONE:
        return narrow is Wild.ONE or (isinstance(narrow, str) and narrow != "/")
    return wide == narrow
