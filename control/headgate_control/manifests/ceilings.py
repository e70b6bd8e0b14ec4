"""Budgets as a manifest has them: of each scope and window the least amount of each unit, for every level's hold."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from headgate_control.budgets.amount import Unit, shown
from headgate_control.budgets.rules import limits_of
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.spec import BudgetRule

SECTION = "budgets"


class Ceiling(NamedTuple):
    """What is limited, and how."""

    scope: str
    id: str | None
    window: str
    mode: str
    unit: Unit

    def text(self, most: int) -> str:
        """With its amount, as people read it."""
        whom = f"the {self.scope} {self.id or ''}".strip()
        return f"{shown(self.unit, most)} for {whom}, {self.window}, {self.mode}"


def ceilings(grant: Grant) -> Iterator[tuple[Ceiling, int, str]]:
    """Every amount of every budget, and the name of the level that says it."""
    for level in grant.levels:
        for rule in level.spec.budgets:
            for ceiling, most in _of(rule):
                yield ceiling, most, level.metadata.name


def least(grant: Grant) -> Mapping[Ceiling, int]:
    """What holds in the end."""
    found: dict[Ceiling, int] = {}
    for ceiling, most, _ in ceilings(grant):
        found[ceiling] = min(most, found.get(ceiling, most))
    return found


def _of(rule: BudgetRule) -> Iterator[tuple[Ceiling, int]]:
    for unit, most in limits_of(rule).items():
        yield Ceiling(rule.scope, rule.id, rule.window, rule.mode, unit), most
