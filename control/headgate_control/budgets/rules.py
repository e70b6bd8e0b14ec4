"""A manifest's budget in the units of the books."""

from headgate_control.budgets.amount import MS_PER_S, Limits, nano_usd
from headgate_control.manifests.spec import BudgetRule


def limits_of(rule: BudgetRule) -> Limits:
    """What a rule limits."""
    return Limits(
        nano_usd=nano_usd(rule.usd) if rule.usd is not None else None,
        tokens=rule.tokens,
        calls=rule.calls,
        duration_ms=rule.seconds * MS_PER_S if rule.seconds is not None else None,
    )
