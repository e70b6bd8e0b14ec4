"""Content taken out of a record: what is content, its keyed hash, its redacted text, and what it tells.

Everything that later analysis needs from prompts, messages, arguments and results is computed here,
before redaction; only the redacted text and the hashes are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from headgate_processors.dialects.coerce import parse_json
from headgate_processors.dialects.dialect import Dialect
from headgate_processors.dialects.meaning import Meaning, is_pseudo_tool, split_tool, tool_type
from headgate_processors.dialects.messages import (
    RequestedCall,
    ReturnedResult,
    first_user_text,
    message_list,
    plain_text,
    requested_calls,
    returned_results,
    roles,
    system_messages,
)
from headgate_processors.dialects.outcome import Signs, exit_code_in, outcome
from headgate_processors.enrich.actions import ActionRules
from headgate_processors.enrich.hashing import HashKey, canonical_arguments, canonical_bytes, canonical_json
from headgate_processors.enrich.recent import Recent
from headgate_processors.enrich.redact import Redactor

TASK_CHARACTERS_MAX = 500
LAYOUTS_MAX = 2048
LAYOUT_CHARS_MAX = 4096


@dataclass(slots=True)
class ContentIndex:
    """Which attribute keys carry content, and of which field."""

    keys: Mapping[str, Sequence[str]]
    _exact: dict[str, str] = field(default_factory=dict)
    _prefixes: list[tuple[str, str]] = field(default_factory=list)
    _seen: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, keys in self.keys.items():
            for key in keys:
                if key.endswith("*"):
                    self._prefixes.append((key[:-1], name))
                else:
                    self._exact.setdefault(key, name)

    def field_of(self, key: str) -> str | None:
        """The content field that `key` carries; NULL when it carries none."""
        return self._exact.get(key) or next((name for start, name in self._prefixes if key.startswith(start)), None)

    def fields(self, keys: tuple[str, ...]) -> Mapping[str, str]:
        """Those of the keys that carry content, with their field; the same few lists of keys come again and again."""
        found = self._seen.get(keys)
        if found is None:
            found = {key: name for key in keys if (name := self.field_of(key)) is not None}
            if sum(map(len, keys)) <= LAYOUT_CHARS_MAX:
                if len(self._seen) >= LAYOUTS_MAX:
                    self._seen.clear()
                self._seen[keys] = found
        return found

    def split(self, attributes: Mapping[str, object]) -> tuple[Mapping[str, object], list[tuple[str, str, object]]]:
        """The attributes that are no content, and the content as (key, field, value)."""
        fields = self.fields(tuple(attributes))
        if not fields:
            return attributes, []
        kept = {key: value for key, value in attributes.items() if key not in fields}
        content = [(key, name, value) for key, name in fields.items() if (value := attributes[key]) not in (None, "")]
        return kept, content


def as_text(value: object) -> str:
    """Text as it is, structures as JSON; what is nested too deeply for JSON is cut."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, default=str).decode()
    except orjson.JSONEncodeError:
        return canonical_bytes(value).decode()


def canonical_text(value: object) -> bytes:
    """The bytes to hash for a parsed value; what is nested too deeply for JSON is cut."""
    try:
        return canonical_json(value)
    except RecursionError:
        return canonical_bytes(value)


def size_bytes(value: object) -> int:
    """The size of a value as text in UTF-8."""
    return len(as_text(value).encode("utf-8", "surrogatepass"))


class Sealed(NamedTuple):
    """Content ready to be stored: redacted, with the classes that were taken out, its size and hash before that."""

    text: str
    size_bytes: int
    hash: str
    classes: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentReader:
    """Computes what content tells, under one hash key and one set of rules."""

    key: HashKey
    redactor: Redactor
    actions: ActionRules
    _sealed: Recent[Sealed] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sealed", Recent(self._seal))

    def sealed(self, value: object) -> Sealed:
        """A value as it is stored; texts that come again are remembered."""
        return self._sealed(as_text(value))

    def _seal(self, text: str) -> Sealed:
        redacted = self.redactor.redact(text)
        raw = text.encode("utf-8", "surrogatepass")
        return Sealed(redacted.text, len(raw), self.key.hash(raw), ",".join(redacted.classes) or None)

    def enrich(self, found: Meaning, dialect: Dialect) -> list[tuple[str, str, object]]:
        """Add hashes, sizes, actions and requested calls to `found`; return content rows derived on the way.

        The raw content fields leave `found`. A row is (attribute, field, value).
        """
        rows: list[tuple[str, str, object]] = []
        if "tool_arguments" in found or "tool_result" in found or found.get("gen_ai_tool_name"):
            self._tool(found, rows)
        messages = found.pop("input_messages", None)
        self._input(found, messages)
        self._output(found, dialect, found.pop("output_messages", None), rows)
        task = found.pop("task", None)
        if task is not None:
            # Redacted before it is cut, or the cut could leave half of a secret.
            text = self.redactor.clean(as_text(task)[: 4 * TASK_CHARACTERS_MAX])
            rows.append(("task", "task", text[:TASK_CHARACTERS_MAX]))
        for name in ("system_instructions", "tool_definitions"):
            found.pop(name, None)
        return rows

    def _tool(self, found: Meaning, rows: list[tuple[str, str, object]]) -> None:
        raw, result = found.pop("tool_arguments", None), found.pop("tool_result", None)
        arguments = canonical_arguments(raw) if raw is not None else None
        written = canonical_json(arguments)
        if raw is not None:
            found["arguments_hash"] = self.key.hash(written)
            found.setdefault("arguments_bytes", size_bytes(raw))
            rows.append(("canonical", "tool_arguments", arguments))
        if result is not None:
            found["result_hash"] = self.key.hash(as_text(result).strip())
            found.setdefault("result_bytes", size_bytes(result))
        name = found.get("gen_ai_tool_name")
        if isinstance(name, str):
            server, kind = found.get("mcp_server"), found.get("gen_ai_tool_type")
            found.update(self._action(name, arguments, written, server, kind))

    def _action(self, name: str, arguments: object, written: bytes, server: object, kind: object) -> dict[str, object]:
        action = self.actions.classify_canonical(
            name,
            arguments,
            written,
            mcp_server=server if isinstance(server, str) else None,
            tool_type=kind if isinstance(kind, str) else None,
        )
        if action is None:
            return {}
        resource = self.redactor.clean(action.resource) if action.resource else None
        return {
            "action": action.action,
            "action_resource": resource,
            "sensitivity": action.sensitivity,
            "reversible": action.reversible,
            "side_effects": action.side_effects,
        }

    def _input(self, found: Meaning, messages: object) -> None:
        system, tools = found.get("system_instructions"), found.get("tool_definitions")
        if messages is None and system is None and tools is None:
            return
        parsed = parse_json(messages)
        listed = message_list(parsed)
        if system is None:
            system = system_messages(listed) or None
        if tools is not None:
            found["tools_hash"] = self.key.hash(canonical_text(parse_json(tools)))
        if system is not None:
            found["system_hash"] = self.key.hash(plain_text(parse_json(system)))
        if tools is not None or system is not None:
            found["prefix_hash"] = self.key.hash(f"{found.get('tools_hash', '')}\n{found.get('system_hash', '')}")
        if messages is None:
            return
        found["prompt_hash"] = self.key.hash(canonical_text(parsed))
        found["context_source"] = context_source(listed) if isinstance(parsed, list) else None
        task = first_user_text(listed)
        if task and found.get("task") is None:
            found["task"] = task
        returned = [self._returned(item) for item in returned_results(listed)]
        if returned:
            found["returned_tools"] = orjson.dumps(returned).decode()

    def _returned(self, item: ReturnedResult) -> dict[str, object]:
        result = item.result
        text = result if isinstance(result, str) else plain_text(result) or as_text(result)
        code = exit_code_in(text)
        return {
            "id": item.call_id,
            "result_hash": self.key.hash(text.strip()),
            "result_bytes": size_bytes(text),
            "outcome": outcome(Signs(exit_code=code, result=text, success=False if item.failed else None)),
            "exit_code": code,
        }

    def _output(self, found: Meaning, dialect: Dialect, messages: object, rows: list[tuple[str, str, object]]) -> None:
        if messages is None:
            return
        calls = [call for call in requested_calls(messages) if not is_pseudo_tool(split_tool(call.name)[1], dialect)]
        if not calls:
            return
        arguments = [canonical_arguments(call.arguments) for call in calls]
        described = [self._requested(call, own, dialect) for call, own in zip(calls, arguments, strict=True)]
        found["requested_tools"] = orjson.dumps(described).decode()
        shown = [
            {"id": call.call_id, "name": call.name, "arguments": own}
            for call, own in zip(calls, arguments, strict=True)
        ]
        rows.append(("requested", "requested_tools", shown))

    def _requested(self, call: RequestedCall, arguments: object, dialect: Dialect) -> dict[str, object]:
        server, name = split_tool(call.name)
        kind = tool_type(name, None, server, dialect)
        written = canonical_json(arguments)
        action = self._action(name, arguments, written, server, kind)
        return {
            "id": call.call_id,
            "name": name,
            "type": kind,
            "mcp_server": server,
            "arguments_hash": self.key.hash(written) if call.arguments is not None else None,
            "arguments_bytes": size_bytes(call.arguments) if call.arguments is not None else None,
            "action": action.get("action"),
            "resource": action.get("action_resource"),
            "sensitivity": action.get("sensitivity"),
            "reversible": action.get("reversible"),
            "side_effects": action.get("side_effects"),
        }


def context_source(messages: object) -> str | None:
    """Which role brought most of the text behind the assistant's last message; NULL when nothing tells."""
    if not isinstance(messages, list):
        return None
    sizes: dict[str, int] = {}
    for role, message in reversed(roles(messages)):
        if role == "assistant":
            break
        source = "tool_result" if role == "tool" else role
        if source in {"user", "system", "tool_result"}:
            sizes[source] = sizes.get(source, 0) + size_bytes(message)
    return max(sorted(sizes), key=lambda name: sizes[name]) if sizes else None
