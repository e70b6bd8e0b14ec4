"""Rows of a query as dictionaries, and the pieces that filters are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]


def fetch(connection: "duckdb.DuckDBPyConnection", query: str, parameters: Sequence[object] = ()) -> list[Row]:
    """Every row of a query, by column name."""
    cursor = connection.execute(query, list(parameters))
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def selected(columns: Sequence[str] | None) -> str:
    """The select list of some columns; of all of them without a choice."""
    return "*" if columns is None else ", ".join(columns)


def among(column: str, values: Sequence[object]) -> str:
    """The condition that a column is one of `values`, which are its parameters."""
    return f"{column} IN ({', '.join('?' * len(values))})" if values else "false"


@dataclass(slots=True)
class Where:
    """A condition that grows: each part with its own parameters, all of them required."""

    parts: list[str] = field(default_factory=list)
    parameters: list[object] = field(default_factory=list)

    def add(self, part: str, *values: object) -> None:
        """Require `part`, whose question marks stand for `values`."""
        self.parts.append(part)
        self.parameters.extend(values)

    def equals(self, expression: str, value: object | None) -> None:
        """Require `expression` to equal `value`, unless that is None."""
        if value is not None:
            self.add(f"{expression} = ?", value)

    def clause(self) -> str:
        """The WHERE clause, empty when nothing is required."""
        return f"WHERE {' AND '.join(self.parts)}" if self.parts else ""
