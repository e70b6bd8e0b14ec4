"""Where settings come from: flags, the environment, a file, defaults; and what to say when one is wrong."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from headgate_console.settings.definition import ENVIRONMENT_PREFIX, NESTING, Settings
from headgate_processors.errors import ConfigError

FILE_NAME = "headgate.yaml"
FILE_VARIABLE = "HEADGATE_CONFIG"
RESERVED = ("HEADGATE_COLLECTOR_", "HEADGATE_HOOK_", FILE_VARIABLE)
_CLOSE_ENOUGH = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The settings, and for each that is not a default where its value comes from."""

    settings: Settings
    origins: Mapping[str, str]

    def origin(self, name: str) -> str:
        """Where the value of a setting comes from; of a whole mapping, where its parts do."""
        inside = [origin for key, origin in self.origins.items() if key == name or key.startswith(name + ".")]
        return ", ".join(dict.fromkeys(inside)) or "default"


def load_settings(flags: Mapping[str, object] | None = None, *, file: Path | None = None) -> Loaded:
    """Put the layers together; `flags` are dotted names, those that are None were not given.

    Without `file`, `HEADGATE_CONFIG` names it, else `headgate.yaml` of the working folder if there is one.

    Raises:
        ConfigError: a key is unknown or a value is wrong; the message names it and its source.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    path = _file(file)
    tree, lines = _read(path) if path is not None else ({}, {})
    variables = _variables()
    origins: dict[str, str] = {
        **{name: f"{path}:{line}" for name, line in lines.items()},
        **{name: variable for variable, name in variables.items()},
        **dict.fromkeys(given, "flag"),
    }
    _refuse_unknown(origins)
    try:
        settings = Settings(**_merged(tree, _environment(variables), _nested(given)))
        return Loaded(settings=settings, origins=origins)
    except ValidationError as error:
        raise ConfigError(_wrong_values(error, origins)) from error
    except ValueError as error:
        message = f"A HEADGATE_ variable cannot be read: {error}. Lists and mappings are written as JSON."
        raise ConfigError(message) from error


def leaves(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting with its dotted name and its field; sections are walked, mappings are one setting."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def value_of(settings: Settings, name: str) -> Any:
    """The value of a setting by its dotted name."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One tree of all layers; a later one wins."""
    tree: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            under = tree.get(name)
            if isinstance(value, Mapping) and isinstance(under, Mapping):
                tree[name] = _merged(under, value)
            else:
                tree[name] = value
    return tree


def _file(file: Path | None) -> Path | None:
    named = file or (Path(os.environ[FILE_VARIABLE]) if os.environ.get(FILE_VARIABLE) else None)
    if named is not None:
        if not named.is_file():
            message = f"There is no configuration file {str(named)!r}."
            raise ConfigError(message)
        return named
    return Path(FILE_NAME) if Path(FILE_NAME).is_file() else None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    from headgate_console.settings.yaml_file import read_tree  # noqa: PLC0415 - most commands have no file to read.

    return read_tree(path)


def _variables() -> dict[str, str]:
    """Environment variables that set something, with the dotted name of what they set."""
    return {
        name: name.removeprefix(ENVIRONMENT_PREFIX).lower().replace(NESTING, ".")
        for name in sorted(os.environ)
        if name.startswith(ENVIRONMENT_PREFIX) and not name.startswith(RESERVED)
    }


def _environment(variables: Mapping[str, str]) -> dict[str, Any]:
    """What the variables set: a setting, or one entry of a mapping, as it is written; what is larger as JSON."""
    mappings = [name for name, field in leaves() if _is_mapping(field)]
    plain = {name for name, field in leaves() if not _is_mapping(field)}
    texts = {name: os.environ[variable] for variable, name in variables.items()}
    inside = {name for name in texts if any(_is_value_in(mapping, name) for mapping in mappings)}
    return _nested({name: text if name in plain | inside else _mapping(text) for name, text in texts.items()})


def _is_value_in(mapping: str, name: str) -> bool:
    """Whether a name goes on below an entry of a mapping: `upstreams.openai.base_url`."""
    return name.startswith(mapping + ".") and "." in name.removeprefix(mapping + ".")


def _mapping(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        message = f"expected a mapping such as {{}}, got {text!r}"
        raise ValueError(message)
    return found


def _nested(flat: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, last = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[last] = value
    return tree


def _refuse_unknown(origins: Mapping[str, str]) -> None:
    known = dict(leaves())
    for name, origin in origins.items():
        if any(_names(name, key, field) for key, field in known.items()):
            continue
        close = get_close_matches(name, known, n=1, cutoff=_CLOSE_ENOUGH)
        hint = f" Did you mean {close[0]}?" if close else ""
        message = f"{name} ({origin}) is not a setting.{hint} All of them: headgate config show"
        raise ConfigError(message)


def _names(name: str, key: str, field: FieldInfo) -> bool:
    """Whether a name that was given means this setting, a section that holds it, or an entry of its mapping."""
    return name == key or key.startswith(name + ".") or (_is_mapping(field) and name.startswith(key + "."))


def _is_mapping(field: FieldInfo) -> bool:
    return get_origin(field.annotation) in {dict, Mapping}


def _wrong_values(error: ValidationError, origins: Mapping[str, str]) -> str:
    sentences = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        origin = next((origins[key] for key in origins if name == key or name.startswith(key + ".")), "default")
        reason = problem["msg"].removeprefix("Value error, ")
        got = "" if "got " in reason else f", got {problem['input']!r}"
        sentences.append(f"{name} ({origin}): {reason[:1].lower()}{reason[1:]}{got}.")
    return "\n".join(sentences)
