"""Only the policies whose scope can match: the cost of a decision does not grow with the number of policies.

A policy names its action, principal and resource, or leaves them open. Those of one request are found by the
entities that it is about and their ancestors. A slice decides exactly as the whole set would.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from cedarpy import PolicySet

SLICES_MAX = 1_024

Uid = tuple[str, str]
"""Type and id of an entity."""
_Key = tuple[Uid | None, Uid | None, Uid | None]


class Slicer:
    """The policies of one bundle, by what they are about; slices that come again are kept. For one thread."""

    def __init__(self, policies: Mapping[str, Mapping[str, Any]]) -> None:
        self._policies = policies
        self._by_scope: dict[_Key, list[str]] = {}
        self._slices: OrderedDict[tuple[str, ...], PolicySet] = OrderedDict()
        self._chosen: OrderedDict[tuple[Uid, tuple[Uid, ...], tuple[Uid, ...]], tuple[str, ...]] = OrderedDict()
        for name, policy in policies.items():
            scopes = (_entities(policy["action"]), _entities(policy["principal"]), _entities(policy["resource"]))
            for key in product(*scopes):
                self._by_scope.setdefault(key, []).append(name)

    def slice(self, action: Uid, principals: Sequence[Uid], resources: Sequence[Uid]) -> PolicySet:
        """What may speak of an action by a principal to a resource; each with all of its ancestors."""
        key = (action, tuple(principals), tuple(resources))
        chosen = self._chosen.get(key)
        if chosen is None:
            chosen = tuple(sorted(set(self._matching(action, principals, resources))))
            _keep(self._chosen, key, chosen)
        found = self._slices.get(chosen)
        if found is None:
            found = self._built(chosen)
            _keep(self._slices, chosen, found)
        return found

    def _matching(self, action: Uid, principals: Sequence[Uid], resources: Sequence[Uid]) -> Iterator[str]:
        for key in product((None, action), (None, *principals), (None, *resources)):
            yield from self._by_scope.get(key, ())

    def _built(self, names: Iterable[str]) -> PolicySet:
        body = {"staticPolicies": {name: self._policies[name] for name in names}, "templates": {}, "templateLinks": []}
        return PolicySet.from_json_str(json.dumps(body))


def _entities(scope: Mapping[str, Any]) -> list[Uid | None]:
    """The entities of one part of a policy's scope; None where it is open, or says only a type."""
    operator = scope["op"]
    if operator == "All" or (operator == "is" and "in" not in scope):
        return [None]
    inner = scope["in"] if operator == "is" else scope
    listed = inner["entities"] if "entities" in inner else [inner["entity"]]
    return [(one["type"], one["id"]) for one in listed]


def _keep(cache: "OrderedDict[Any, Any]", key: object, value: object) -> None:
    if len(cache) >= SLICES_MAX:
        cache.popitem(last=False)
    cache[key] = value
