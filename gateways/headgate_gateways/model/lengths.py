"""Whose the conversations are that a provider keeps, and how long, so that calls that go on from them have a bound.

All agents share the provider's key, so the provider lets each go on from any answer; the gateway does not.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

ANSWERS_MAX = 65_536
ITEMS_MAX = 131_072
ITEMS_OF_AN_ANSWER_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What a call goes on from: an answer, items of answers, and maybe more of which nobody knows the length."""

    answer_id: str | None = None
    item_ids: Sequence[str] = ()
    has_more: bool = False


@dataclass(slots=True)
class Lengths:
    """The last answers, `ANSWERS_MAX` of them, and items of answers. For one event loop."""

    _answers: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _items: OrderedDict[str, tuple[str, int | None]] = field(default_factory=OrderedDict)
    _owners: OrderedDict[str, str] = field(default_factory=OrderedDict)

    def add(
        self,
        answer_id: str,
        tokens: int | None,
        *,
        owner: str,
        output_tokens: int | None,
        item_ids: Sequence[str] = (),
    ) -> None:
        """An answer of these items has ended a conversation of so many tokens of the instance `owner`.

        None is of an answer that did not tell: it is somebody's all the same.
        """
        if tokens is not None:
            self._answers[answer_id] = tokens
        self._owners[answer_id] = owner
        self._items.update(dict.fromkeys(item_ids[:ITEMS_OF_AN_ANSWER_MAX], (answer_id, output_tokens)))
        while len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)
        while len(self._owners) > ANSWERS_MAX:
            self._owners.popitem(last=False)
        while len(self._items) > ITEMS_MAX:
            self._items.popitem(last=False)

    def owners(self, before: Before) -> Iterator[str]:
        """The instances whose conversations a call goes on from, as far as they are known."""
        of_items = (self._items[one][0] for one in before.item_ids if one in self._items)
        for answer_id in (before.answer_id, *of_items):
            if answer_id is not None and (owner := self._owners.get(answer_id)) is not None:
                yield owner

    def of(self, before: Before) -> int | None:
        """The most tokens that a call goes on from; None where that is not known."""
        tokens = self._answers.get(before.answer_id) if before.answer_id is not None else 0
        items = [self._items.get(item_id) for item_id in before.item_ids]
        known = {item[0]: item[1] for item in items if item is not None and item[1] is not None}
        if before.has_more or tokens is None or any(item is None or item[1] is None for item in items):
            return None
        # Of each answer once, for an item is never more than all of it.
        return tokens + sum(known.values())
