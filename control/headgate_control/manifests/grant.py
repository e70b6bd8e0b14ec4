"""A manifest with the profiles above it: a request is granted when every level grants it that says anything."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import orjson

from headgate_control.manifests.rulings import Ruling, ruling
from headgate_control.manifests.spec import LEVELS, TIERS, BudgetRule, ManifestFile, Metadata
from headgate_control.request import Request
from headgate_processors.errors import ConfigError

LEVELS_MAX = len(LEVELS) + 1


@dataclass(frozen=True, slots=True)
class Grant:
    """The levels from the top down; the last one is the manifest itself."""

    levels: tuple[ManifestFile, ...]
    digest: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        text = orjson.dumps(self.written(), option=orjson.OPT_SORT_KEYS)
        object.__setattr__(self, "digest", "sha256:" + sha256(text).hexdigest())

    def written(self) -> list[dict[str, object]]:
        """What the levels say, without defaults: the same for the same grant, and what the digest is of."""
        return [level.model_dump(mode="json", by_alias=True, exclude_defaults=True) for level in self.levels]

    @property
    def metadata(self) -> Metadata:
        """The manifest's own."""
        return self.levels[-1].metadata

    @property
    def budgets(self) -> Iterator[BudgetRule]:
        """Every ceiling of every level: all of them hold."""
        return (rule for level in self.levels for rule in level.spec.budgets)

    def ruling(self, request: Request) -> Ruling:
        """Whether the request is granted, and after whose approval: the strictest that any level asks for.

        What the top says nothing about is refused, whatever stands below.
        """
        strictest = 0
        for level in self.levels:
            said = ruling(level.spec, request)
            if said is None and level is self.levels[0]:
                return Ruling(granted=False, reason=f"{_called(level)} grants no {request.action}")
            if said is not None and not said.granted:
                return Ruling(granted=False, reason=f"{_called(level)}: {said.reason}")
            strictest = max(strictest, TIERS.index(said.approval) if said is not None else 0)
        return Ruling(granted=True, approval=TIERS[strictest])


def resolved(file: ManifestFile, profiles: Mapping[str, ManifestFile]) -> Grant:
    """A manifest or profile with all that it inherits.

    Raises:
        ConfigError: a profile is not there, or does not stand above what inherits it.
    """
    levels = [file]
    while (name := levels[0].metadata.inherits) is not None:
        above = profiles.get(name)
        if above is None:
            known = ", ".join(sorted(profiles)) or "none is there"
            message = f"{_called(levels[0])} inherits {name!r}, which is no profile; known are: {known}"
            raise ConfigError(message)
        if above.kind != "AgentProfile" or above.rank >= levels[0].rank:
            message = (
                f"{_called(levels[0])} inherits {name!r}, which does not stand above it: from the top down the levels "
                f"are {', '.join(LEVELS)}, then the manifest"
            )
            raise ConfigError(message)
        levels.insert(0, above)
    return Grant(tuple(levels))


def _called(file: ManifestFile) -> str:
    return f"{'profile' if file.kind == 'AgentProfile' else 'manifest'} {file.metadata.name!r}"
