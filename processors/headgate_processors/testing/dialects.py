"""Records and dialect tables for tests, built from what matters and nothing else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from headgate_processors.dialects.dialect import Dialect
from headgate_processors.dialects.record import Record
from headgate_processors.dialects.table import DialectBook, load_dialects

Attributes = Mapping[str, Any]

DETECT_INVENTED = {"scope": "invented"}


def span_record(attributes: Attributes | None = None, **fields: Any) -> Record:
    """A span of the scope `invented` as a dialect sees it; `fields` are those of `Record`."""
    return Record(**{"attributes": attributes or {}, "resource": {}, "scope": "invented", **fields})


def log_record(attributes: Attributes | None = None, **fields: Any) -> Record:
    """A log record of the scope `invented` as a dialect sees it."""
    return span_record(attributes, is_log=True, **fields)


def write_table(folder: Path, name: str = "invented", **table: Any) -> Path:
    """Write a dialect table; it recognises the scope `invented` unless `detect` says otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    spec = {"dialect": name, "version": "1", "detect": [DETECT_INVENTED], **table}
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


def book_with(folder: Path, name: str = "invented", **table: Any) -> DialectBook:
    """The packaged tables and one of `folder` that is written from `table`.

    Raises:
        ConfigError: the table is wrong.
    """
    write_table(folder, name, **table)
    return load_dialects(folder)


def dialect_with(folder: Path, name: str = "invented", **table: Any) -> Dialect:
    """The compiled table alone.

    Raises:
        ConfigError: the table is wrong.
    """
    return next(one for one in book_with(folder, name, **table).dialects if one.name == name)
