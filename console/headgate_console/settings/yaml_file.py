"""The file of settings: what stands in it, and on which line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from headgate_processors.errors import ConfigError


def read_tree(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The settings in a file as a tree, and the line of each by its dotted name.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        message = f"{path} cannot be read as YAML: {error}"
        raise ConfigError(message) from error
    if tree is None:
        return {}, {}
    if not isinstance(tree, dict):
        message = f"{path}: expected a mapping of settings at the top, got {type(tree).__name__}."
        raise ConfigError(message)
    return tree, dict(_lines(node, ""))


def _lines(node: Any, prefix: str) -> Iterator[tuple[str, int]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode):
            yield from _lines(value, name + ".")
        if not isinstance(value, yaml.MappingNode) or not value.value:
            yield name, key.start_mark.line + 1
