"""A memory of results by text, bounded in entries and in characters."""

from collections.abc import Callable
from typing import Generic, TypeVar

ENTRIES_MAX = 8192
CHARS_MAX = 4_000_000
TEXT_CHARS_MAX = 65_536

_V = TypeVar("_V")


class Recent(Generic[_V]):
    """What a pure function gave for the texts of late; what was not asked for in a while is forgotten.

    The same system prompt, question and tool result come again in every span of a session. Two generations are
    kept: when the younger is full it becomes the older, whose rest is dropped. Safe for threads, which at worst
    compute a result twice.
    """

    def __init__(self, compute: Callable[[str], _V], *, chars_max: int = CHARS_MAX) -> None:
        self._compute = compute
        self._chars_max = chars_max
        self._young: dict[str, _V] = {}
        self._old: dict[str, _V] = {}
        self._chars = 0

    def __call__(self, text: str) -> _V:
        """The result for a text; of a text out of all proportion nothing is kept."""
        found = self._young.get(text)
        if found is not None:
            return found
        found = self._old.get(text)
        if found is None:
            found = self._compute(text)
        if len(text) <= TEXT_CHARS_MAX:
            self._keep(text, found)
        return found

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _keep(self, text: str, value: _V) -> None:
        if len(self._young) >= ENTRIES_MAX or self._chars + len(text) > self._chars_max:
            self._old, self._young, self._chars = self._young, {}, 0
        self._young[text] = value
        self._chars += len(text)
