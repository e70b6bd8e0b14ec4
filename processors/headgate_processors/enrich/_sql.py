"""What an SQL statement does, by its verb, without parsing it."""

import re
from dataclasses import dataclass
from typing import Literal

STATEMENT_CHARS_MAX = 4096
STATEMENTS_MAX = 16

_NOISE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_VERB = re.compile(r"\s*\(*\s*([A-Za-z]+)\b")
_WRITE = re.compile(r"\b(insert\s+into|update|delete\s+from|merge\s+into)\b", re.IGNORECASE)
_NAME = r"[\"`\[]?([A-Za-z_][\w$]*[\"`\]]?(?:\.[\"`\[]?[A-Za-z_][\w$]*[\"`\]]?)*)"
_TABLE = re.compile(
    rf"\b(?:from|into|update|join|truncate(?:\s+table)?|table(?:\s+if(?:\s+not)?\s+exists)?|describe|view|index\s+\w+\s+on)\s+(?:only\s+)?{_NAME}",
    re.IGNORECASE,
)
_READS = frozenset(
    {"select", "show", "describe", "desc", "explain", "values", "pragma", "table", "summarize", "from", "list"}
)
_WRITES = frozenset(
    {
        "insert",
        "update",
        "merge",
        "upsert",
        "replace",
        "create",
        "alter",
        "grant",
        "revoke",
        "copy",
        "call",
        "exec",
        "execute",
        "rename",
        "attach",
        "load",
        "comment",
        "vacuum",
        "refresh",
        "set",
        "do",
    }
)
_DESTROYS = frozenset({"delete", "drop", "truncate"})
VERBS = _READS | _WRITES | _DESTROYS | {"with", "begin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Its verb in lower case, the first table that it names, and what it does to the data."""

    verb: str
    table: str | None
    effect: Literal["reads", "writes", "destroys"]


def looks_like_sql(text: str) -> bool:
    """Whether a text begins with an SQL verb and goes on as a statement does."""
    verb = _VERB.match(_NOISE.sub(" ", text[:256]))
    if verb is None or verb[1].lower() not in VERBS - {
        "list",
        "from",
        "set",
        "do",
        "load",
        "call",
        "comment",
        "refresh",
    }:
        return False
    return _TABLE.search(text[:STATEMENT_CHARS_MAX]) is not None or (
        verb[1].lower() in {"select", "show", "pragma"} and (verb[1].isupper() or bool(re.search(r"[*=;(]", text)))
    )


def strongest_statement(sql: str) -> Statement | None:
    """The statement that does most: one that destroys, else one that writes, else the first."""
    bare = _NOISE.sub(" ", sql[:STATEMENT_CHARS_MAX])
    found = [statement for part in bare.split(";")[:STATEMENTS_MAX] if (statement := _statement(part)) is not None]
    order = ("reads", "writes", "destroys")
    return max(found, key=lambda statement: order.index(statement.effect), default=None)


def _statement(part: str) -> Statement | None:
    matched = _VERB.match(part)
    if matched is None or (verb := matched[1].lower()) not in VERBS or verb == "begin":
        return None
    body = part
    if verb in ("with", "explain"):
        write = _WRITE.search(part) if verb == "with" or re.search(r"\banalyze\b", part, re.IGNORECASE) else None
        verb = write[1].split()[0].lower() if write else "select"
        body = part[write.start() :] if write else part
    table = _TABLE.search(body)
    name = re.sub(r"[\"`\[\]]", "", table[1]) if table else None
    effect: Literal["reads", "writes", "destroys"] = (
        "destroys" if verb in _DESTROYS else "writes" if verb in _WRITES else "reads"
    )
    return Statement(verb=verb, table=name, effect=effect)
