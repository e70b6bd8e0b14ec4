"""The smallest value that a JSON Schema allows, for clients that want their answer in a shape."""

from collections.abc import Mapping
from typing import Any

_MAX_DEPTH = 16
_PLAIN: Mapping[str, Any] = {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "null": None, "array": []}


def instance_of(schema: Mapping[str, Any]) -> Any:
    """A value of the schema: required properties only, the first choice of every choice."""
    return _value(schema, schema, _MAX_DEPTH)


def _value(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if depth == 0:
        return None
    if "$ref" in schema:
        return _value(_referred(str(schema["$ref"]), root), root, depth - 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _value(schema[key][0], root, depth - 1)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: _value(properties.get(name, {}), root, depth - 1) for name in schema.get("required", [])}
    return _PLAIN.get(kind)


def _referred(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    node: Any = root
    for word in filter(None, reference.removeprefix("#").split("/")):
        node = node.get(word, {}) if isinstance(node, Mapping) else {}
    return node if isinstance(node, Mapping) else {}
