"""Frozen values as the fields of a record, and back."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def written(value: Any) -> dict[str, object]:
    """The fields of a dataclass as JSON has them; those that are not known are left out."""
    return {one.name: found for one in fields(value) if (found := getattr(value, one.name)) is not None}


def known(kind: Any, body: Mapping[str, Any]) -> dict[str, Any]:
    """Of a record, what this version of a dataclass knows; fields of a newer one are left alone."""
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in body.items() if name in names}
