"""Recorded calls as the requests that gateways would have made of them.

A model call is one request. A tool call is the tool, and the command, file or host behind it where its record says
which. What a record does not say is asked for by nobody.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from headgate_control.budgets.amount import Amount, nano_usd
from headgate_control.identity.instance import Instance
from headgate_control.request import ActionName, Request, Resource, Subject

COMMAND_KEYS = ("full_command", "command", "cmd", "bash_command", "script")
PATH_KEYS = ("file_path", "filepath", "filePath", "path", "absolute_path", "target_file", "filename", "notebook_path")
FILES: Mapping[str, ActionName] = {"file_read": "file.read", "file_write": "file.write"}
_PORTS = {"http": 80, "https": 443}
_SEVERAL = re.compile(r" and \d+ more$")
_REDACTED = re.compile(r"\[REDACTED:([a-z0-9_.-]{1,64})\]")
_MS_NS = 1_000_000

Row = Mapping[str, Any]
"""A row of `model_calls` or `tool_calls`, with `success` of its session beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One call. `subject` is its instance, or its session where no instance is known; `amount` is what it took.

    `was_denied`: it was refused then, or never approved.
    `cost_known` is False where nobody knows what it cost. `classes` are those of what was taken out of its arguments.
    """

    kind: Literal["model_call", "tool_call"]
    call_id: str
    session_id: str
    subject: str
    row: Row
    requests: tuple[Request, ...]
    amount: Amount
    at_unix_nano: int
    failed: bool
    was_denied: bool = False
    cost_known: bool = True
    classes: tuple[str, ...] = ()
    arguments_known: bool = True

    def instance(self, manifest_digest: str) -> Instance:
        """Its instance, under a manifest."""
        names = ("launched_by", "team", "workflow", "repo", "environment", "task_class", "risk_tier")
        told: dict[str, Any] = {name: self.row.get(name) for name in (*names, "policy_profile", "runtime")}
        return Instance(
            instance_id=self.subject,
            manifest_digest=manifest_digest,
            root=self.subject,
            state="running",
            created_unix_nano=0,
            user=self.row.get("user_id"),
            **told,
        )


def model_call(row: Row) -> Recorded | None:
    """A row of `model_calls`; None where no model or provider is known."""
    model = row.get("request_model") or row.get("model")
    if not model or not row.get("provider"):
        return None
    tokens, cost = (row.get("input_tokens") or 0) + (row.get("output_tokens") or 0), row.get("cost_usd")
    resource = Resource(type="model", id=f"{row['provider']}/{model}")
    amount = Amount(
        nano_usd=nano_usd(cost) if cost is not None else 0,
        tokens=tokens,
        calls=1,
        duration_ms=max(0, row.get("duration_ns") or 0) // _MS_NS,
    )
    return Recorded(
        kind="model_call",
        call_id=row["call_id"],
        session_id=row["session_id"],
        subject=subject_of(row),
        row=row,
        requests=(_request(row, "model.call", resource, {}),),
        amount=amount,
        at_unix_nano=row.get("start_time_unix_nano") or 0,
        failed=row.get("status") == "error",
        was_denied=row.get("status") == "denied",
        cost_known=cost is not None,
    )


def tool_call(row: Row) -> Recorded | None:
    """A row of `tool_calls`; None where no tool is known."""
    if not row.get("tool"):
        return None
    arguments = _arguments(row.get("arguments"))
    given = arguments or {}
    asked = ("tools/call", _tool(row)), *_parts(row, given)
    return Recorded(
        kind="tool_call",
        call_id=row["call_id"],
        session_id=row["session_id"],
        subject=subject_of(row),
        row=row,
        requests=tuple(_request(row, action, resource, given) for action, resource in asked),
        amount=Amount(),
        at_unix_nano=row.get("start_time_unix_nano") or 0,
        failed=row.get("result_class") in {"error", "timeout"},
        was_denied=_was_denied(row),
        classes=tuple(dict.fromkeys(_REDACTED.findall(row.get("arguments") or ""))),
        arguments_known=arguments is not None,
    )


def recorded(row: Row) -> Recorded | None:
    """A row of either, by its `kind`."""
    return model_call(row) if row["kind"] == "model_call" else tool_call(row)


def subject_of(row: Row) -> str:
    """Whose call it is: a synthetic id stands for a service, not for a launch, so the session does instead."""
    known = row.get("instance_id") is not None and row.get("identity_source") != "unknown"
    return str(row["instance_id"]) if known else f"session-{row['session_id']}"


def _was_denied(row: Row) -> bool:
    """Whether a tool call was refused, whatever the agent did then, or waited for an approval that never came."""
    waits = row.get("decision") == "require_approval" and row.get("state") != "executed"
    return waits or row.get("decision") == "deny" or row.get("result_class") == "denied"


def _request(row: Row, action: ActionName, resource: Resource, given: Mapping[str, object]) -> Request:
    context = {"input": given, "session": row["session_id"]} if given else {"session": row["session_id"]}
    return Request(
        subject=Subject(type="agent_instance", id=subject_of(row)), action=action, resource=resource, context=context
    )


def _tool(row: Row) -> Resource:
    server = row.get("mcp_server")
    found = {"server": server, "sensitivity": row.get("sensitivity"), "environment": row.get("environment")}
    return Resource(
        type="tool", id=row["tool"], properties={name: value for name, value in found.items() if value is not None}
    )


def _parts(row: Row, given: Mapping[str, object]) -> Iterator[tuple[ActionName, Resource]]:
    action = str(row.get("action"))
    command = None if row.get("mcp_server") else _first(given, COMMAND_KEYS)
    if command is not None and action in {"command", *FILES, "network", "external_action", "database"}:
        yield "proc.exec", Resource(type="command", id=command)
    elif action in FILES and not row.get("mcp_server"):
        path = _first(given, PATH_KEYS) or row.get("resource")
        if path and not _SEVERAL.search(path):
            yield FILES[action], Resource(type="file", id=path)
    elif action == "network" and (endpoint := _endpoint(given.get("url"))) is not None:
        yield "net.connect", Resource(type="host", id=endpoint)


def _first(given: Mapping[str, object], keys: tuple[str, ...]) -> str | None:
    return next((value for key in keys if isinstance(value := given.get(key), str) and value), None)


def _endpoint(url: object) -> str | None:
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return f"{parts.hostname}:{port}" if parts.hostname and port else None


def _arguments(text: str | None) -> Mapping[str, object] | None:
    """The arguments as they were kept, redacted; None where they were not, or are no object."""
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
