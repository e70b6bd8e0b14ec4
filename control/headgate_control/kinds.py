"""The kinds of records that control keeps, and how each is written."""

from collections.abc import Mapping
from typing import Any

from headgate_control.budgets.amount import Limits
from headgate_control.budgets.budget import Budget
from headgate_control.fields import known, written
from headgate_control.identity.directory import KINDS
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.spec import ManifestFile
from headgate_control.stops.stop import Stop

INSTANCE = "instance"
MANIFEST = "manifest"
GATEWAY_KEY = "gateway_key"
BUDGET = "budget"
LIMIT = "limit"
STOP = "stop"
EPOCH = "epoch"
CREDENTIAL = "credential"
DIRECTORY = frozenset(KINDS)
"""Those of the directory: users, services, teams, workflows, repositories and resources."""


def write_grant(grant: Grant) -> dict[str, object]:
    """A manifest with all that it inherits."""
    return {"levels": grant.written()}


def read_grant(body: Mapping[str, Any]) -> Grant:
    """The manifest of a record."""
    return Grant(tuple(ManifestFile.model_validate(level) for level in body["levels"]))


def write_stop(stop: Stop) -> dict[str, object]:
    """A stop."""
    return written(stop)


def read_stop(body: Mapping[str, Any]) -> Stop:
    """The stop of a record."""
    scope, target = body["key"]
    return Stop(**{**known(Stop, body), "key": (scope, target)})


def write_budget(budget: Budget) -> dict[str, object]:
    """A budget."""
    return {
        "budget_id": budget.budget_id,
        "place": list(budget.place),
        "window": budget.window,
        "limits": written(budget.limits),
        "mode": budget.mode,
    }


def read_budget(body: Mapping[str, Any]) -> Budget:
    """The budget of a record."""
    scope, target = body["place"]
    limits = Limits(**known(Limits, body["limits"]))
    return Budget(**{**known(Budget, body), "place": (scope, target), "limits": limits})
