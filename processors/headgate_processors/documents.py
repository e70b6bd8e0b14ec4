"""YAML files read into validated models, with errors that say where in the file the mistake is."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from headgate_processors.errors import ConfigError

FILE_BYTES_MAX = 16 << 20
ERRORS_SHOWN_MAX = 10

Model = TypeVar("Model", bound="Document")
Step = int | str
Problem = tuple[tuple[Step, ...], str]


class Document(BaseModel):
    """Base of every model that a YAML file is read into: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    def problems(self) -> Iterable[Problem]:
        """What is wrong beyond the shape of the document: where, and what."""
        return ()


def read_document(path: Path, model: type[Model]) -> Model:
    """Read and validate one YAML file.

    Raises:
        ConfigError: the file is missing, too large, not YAML, or does not fit; names file, line and key.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB: split it or remove entries")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    return parse_document(text, model, source=str(path))


def packaged_document(name: str, model: type[Model]) -> Model:
    """Read one of the rule tables that ship with the package, such as `redaction.yaml`."""
    file = resources.files("headgate_processors.enrich") / "rules" / name
    return parse_document(file.read_text(encoding="utf-8"), model, source=name)


def parse_document(text: str, model: type[Model], *, source: str) -> Model:
    """Validate YAML text; `source` names it in errors.

    Raises:
        ConfigError: as `read_document`.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{where}: not valid YAML: {problem}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply to be read") from error
    try:
        document = model.model_validate({} if content is None else content)
    except ValidationError as error:
        raise ConfigError(_report(_mistakes(error, model), root, source)) from error
    problems = list(document.problems())
    if problems:
        raise ConfigError(_report(problems, root, source))
    return document


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[object] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        built: dict[object, object] = super().construct_mapping(node, deep=deep)
        return built


def _report(problems: Sequence[Problem], root: yaml.Node | None, source: str) -> str:
    lines = []
    for location, message in problems[:ERRORS_SHOWN_MAX]:
        line = _line_of(root, location)
        where = f"{source}:{line}" if line else source
        lines.append(f"{where}: {_dotted(location) or 'document'}: {message}")
    rest = len(problems) - ERRORS_SHOWN_MAX
    return "\n".join(lines + ([f"{source}: and {rest} more"] if rest > 0 else []))


def _mistakes(error: ValidationError, model: type[Document]) -> list[Problem]:
    return [
        (
            detail["loc"],
            _unknown_key(model, detail["loc"])
            if detail["type"] == "extra_forbidden"
            else detail["msg"].removeprefix("Value error, "),
        )
        for detail in error.errors(include_url=False, include_context=False)
    ]


def _unknown_key(model: type[Document], location: Sequence[Step]) -> str:
    key, known = str(location[-1]), _known_keys(model, location[:-1])
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
    return f"unknown key {key!r}; {hint}"


def _dotted(location: Sequence[Step]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return text.removeprefix(".")


def _line_of(node: yaml.Node | None, location: Sequence[Step]) -> int | None:
    """The line (from 1) of the deepest node that `location` leads to."""
    line = node.start_mark.line + 1 if node is not None else None
    for step in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _known_keys(model: type[Document], location: Sequence[Step]) -> list[str]:
    """The keys that may stand at `location`, found by walking the JSON Schema of the model."""
    schema: Mapping[str, object] = model.model_json_schema()
    definitions = schema.get("$defs", {})
    node: object = schema
    for step in location:
        node = _descend(_resolve(node, definitions), step)
    node = _resolve(node, definitions)
    properties = node.get("properties", {}) if isinstance(node, Mapping) else {}
    return list(properties) if isinstance(properties, Mapping) else []


def _descend(node: object, step: Step) -> object:
    if not isinstance(node, Mapping):
        return {}
    if isinstance(step, int):
        return node.get("items", {})
    properties = node.get("properties", {})
    if isinstance(properties, Mapping) and step in properties:
        return properties[step]
    return node.get("additionalProperties", {})


def _resolve(node: object, definitions: object) -> object:
    """Follow `$ref`, and of alternatives take the one that is an object or a list."""
    for _ in range(8):
        if not isinstance(node, Mapping):
            return node
        if "$ref" in node and isinstance(definitions, Mapping):
            node = definitions.get(str(node["$ref"]).rsplit("/", 1)[-1], {})
        elif isinstance(choices := node.get("anyOf"), list):
            node = next((choice for choice in choices if choice.get("type") != "null"), {})
        else:
            return node
    return node
