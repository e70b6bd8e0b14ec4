"""How fast a scope may call, and how much of it at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate_control.budgets.budget import Place
from headgate_control.fields import known, written
from headgate_processors.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What `place` may do, at each enforcement point; None leaves it free.

    `calls_per_minute` may be made at once when there were none for a minute, and evenly after that. So it is with
    `tokens_per_minute`: a call counts with all that it may need while it runs, and with what it has used at its end.
    """

    limit_id: str
    place: Place
    calls_per_minute: int | None = None
    tokens_per_minute: int | None = None
    open_calls_max: int | None = None

    def __post_init__(self) -> None:
        all_of = (self.calls_per_minute, self.tokens_per_minute, self.open_calls_max)
        given = [one for one in all_of if one is not None]
        if not given or min(given) < 0:
            message = (
                f"limit {self.limit_id!r}: expected calls_per_minute, tokens_per_minute or open_calls_max, 0 or more"
            )
            raise ConfigError(message)

    def written(self) -> dict[str, object]:
        """Its fields as JSON has them."""
        return {**written(self), "place": list(self.place)}

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "Limit":
        """The limit of a record."""
        scope, target = body["place"]
        return cls(**{**known(cls, body), "place": (scope, target)})
