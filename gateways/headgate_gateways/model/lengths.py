"""How long conversations have become that their provider keeps, by the id of their last answer."""

from collections import OrderedDict
from dataclasses import dataclass, field

ANSWERS_MAX = 65_536


@dataclass(slots=True)
class Lengths:
    """The tokens of the last `ANSWERS_MAX` answers, with all that came before each. For one event loop."""

    _tokens: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def add(self, response_id: str, tokens: int) -> None:
        """An answer has ended a conversation of so many."""
        self._tokens[response_id] = tokens
        while len(self._tokens) > ANSWERS_MAX:
            self._tokens.popitem(last=False)

    def of(self, response_id: str | None) -> int | None:
        """How long the conversation was with that answer; None where that is not known."""
        return self._tokens.get(response_id) if response_id is not None else None
