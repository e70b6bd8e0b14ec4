"""Settings described: rows for people, the JSON Schema of the file."""

from typing import Any

from headgate_console.settings.definition import Settings
from headgate_console.settings.loading import Loaded, leaves


def described(loaded: Loaded) -> list[dict[str, Any]]:
    """One row per setting: `setting`, `value`, `default`, `origin`, `doc`."""
    values, defaults = _flat(loaded.settings), _flat(Settings.model_construct())
    return [
        {
            "setting": name,
            "value": values[name],
            "default": defaults[name],
            "origin": loaded.origin(name),
            "doc": field.description,
        }
        for name, field in leaves()
    ]


def _flat(settings: Settings) -> dict[str, Any]:
    tree = settings.model_dump(mode="json")
    return {name: _at(tree, name) for name, _ in leaves()}


def _at(tree: dict[str, Any], name: str) -> Any:
    value: Any = tree
    for part in name.split("."):
        value = value[part]
    return value


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `headgate.yaml`."""
    schema = Settings.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "headgate.yaml"}
