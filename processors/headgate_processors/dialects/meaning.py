"""What one record means: the dialect's fields read, coerced and made to agree with each other.

The result is a dict of the `MEANING` columns that are known, plus the raw content fields
(`CONTENT_FIELDS`), which the caller hashes, redacts and stores apart.
"""

import re
from collections.abc import Mapping, Sequence

from headgate_processors.dialects import coerce
from headgate_processors.dialects.dialect import Dialect
from headgate_processors.dialects.messages import regroup
from headgate_processors.dialects.outcome import Signs, error_type_of, exit_code_in, outcome
from headgate_processors.dialects.plan import Plan
from headgate_processors.dialects.reading import QUIET, TOOLS, Reading, Vocabulary, readings
from headgate_processors.dialects.record import Record
from headgate_processors.dialects.source import Narrowed

Meaning = dict[str, object]

_CALLS = frozenset({"llm", "embedding"})
_INNER = TOOLS | {"step"}

_PSEUDO_TOOLS = frozenset({"final_answer", "(merged tools)"})
_CODE_TOOLS = frozenset({"python_interpreter", "code_interpreter", "execute_code", "code_execution", "run_code"})
_TOOL_TYPES = frozenset({"function", "mcp", "builtin", "code", "handoff", "subagent"})
_HANDOFF = re.compile(r"^(?:transfer(?:[ _-]back)?[ _-]to|hand[ _-]?off)(?:[ _.-].*)?$", re.IGNORECASE)
_SUBAGENT = re.compile(r"^delegate[ _]work[ _]to[ _]coworker$", re.IGNORECASE)
_CLI_DIALECTS = frozenset({"claude_code", "codex", "gemini_cli", "copilot", "opencode", "qwen_code"})
_RESPONSE_SHAPED = re.compile(r"^(?:resp|chatcmpl|msg|gen)[-_]")

_OPERATIONS = frozenset({"chat", "generate_content", "text_completion", "fetch_response"})


def read_meaning(record: Record, dialect: Dialect) -> Meaning:
    """Everything the dialect's table says of `record`."""
    kind = dialect.kind(record)
    fields = {name: Narrowed(None, sources) for name, sources in dialect.fields.items()}
    return _meaning(record, dialect, kind, readings(fields, kind, Vocabulary()), dialect.flattened)


def read_planned(record: Record, plan: Plan) -> Meaning:
    """As `read_meaning`, where the plan is that of the record."""
    kind = plan.kind(record)
    return _meaning(record, plan.dialect, kind, plan.readings(kind), plan.flattened)


def _meaning(
    record: Record, dialect: Dialect, kind: str, reading: Sequence[Reading], flattened: Mapping[str, str]
) -> Meaning:
    found: Meaning = {"operation_kind": kind, "dialect": dialect.name, "dialect_version": dialect.version}
    attributes = record.attributes
    for name, key, rest, convert, words in reading:
        value = None if key is None else attributes.get(key)
        if value is None or value == "":
            value = rest(record)
            if value is None or value == "":
                continue
        value = words[value] if type(value) is str and len(value) <= coerce.MASK_CHARS_MAX else convert(value)
        if value is not None:
            found[name] = value
    if flattened and kind not in TOOLS and kind not in QUIET:
        _read_flattened(record, flattened, found)
    found["error_type"] = _error_type(record, found)
    _settle_task(dialect, found)
    _settle_session(found)
    _settle_agent(record, dialect, kind, found)
    if kind in TOOLS:
        _settle_tool(record, dialect, found)
    elif kind not in QUIET:
        _settle_call(record, dialect, kind, found)
    return found


def _read_flattened(record: Record, flattened: Mapping[str, str], found: Meaning) -> None:
    for name, prefix in flattened.items():
        if found.get(name) is None:
            grouped = regroup(record.attributes, prefix)
            if grouped is not None:
                found[name] = grouped


def _error_type(record: Record, found: Meaning) -> object:
    named = found.get("error_type")
    if named is not None:
        return named
    exception = _exception_type(record.events) if record.events else None
    failed_http = found.get("http_response_status_code")
    if isinstance(failed_http, int) and failed_http >= 400 and not exception:
        return str(failed_http)
    return error_type_of(record.status, None, exception) if record.status == "ERROR" else None


def _exception_type(events: Sequence[Mapping[str, object]]) -> object:
    """The type of the last exception among span events."""
    for event in reversed(events):
        attributes = event.get("attributes")
        if isinstance(attributes, dict) and "exception.type" in attributes:
            return attributes["exception.type"]
    return None


def _settle_task(dialect: Dialect, found: Meaning) -> None:
    """Some agents prompt themselves: that is no task of the user."""
    task = found.get("task")
    if dialect.pseudo_tasks and isinstance(task, str) and task.startswith(dialect.pseudo_tasks):
        del found["task"]
        if found["operation_kind"] == "task":
            found["operation_kind"] = "other"


def _settle_session(found: Meaning) -> None:
    """A response id in the place of a conversation is no session: some frameworks chain responses that way."""
    for name in ("session_key", "gen_ai_conversation_id"):
        key = found.get(name)
        if isinstance(key, str) and (key == found.get("gen_ai_response_id") or _RESPONSE_SHAPED.match(key)):
            del found[name]


def _settle_agent(record: Record, dialect: Dialect, kind: str, found: Meaning) -> None:
    if found.get("gen_ai_agent_name") is None:
        if dialect.agent_name_from_span and kind == "agent" and record.name:
            found["gen_ai_agent_name"] = record.name
        elif dialect.default_agent is not None and kind not in _INNER and found.get("gen_ai_agent_id") is None:
            found["gen_ai_agent_name"] = dialect.default_agent


def _settle_call(record: Record, dialect: Dialect, kind: str, found: Meaning) -> None:
    model = found.get("gen_ai_response_model") or found.get("gen_ai_request_model")
    if found.get("gen_ai_provider_name") is None and kind in _CALLS:
        inferred = coerce.provider_of_model(model if isinstance(model, str) else None)
        if inferred is not None:
            found["gen_ai_provider_name"] = inferred
    if kind == "llm" and found.get("gen_ai_operation_name") not in _OPERATIONS:
        found["gen_ai_operation_name"] = "chat"
    elif kind == "embedding":
        found["gen_ai_operation_name"] = "embeddings"
    resends = found.pop("resends", None)
    if isinstance(resends, int):
        found["attempt"] = resends + 1
    _settle_usage(record, dialect, kind, found)
    if found.get("usage_role") == "missing" and found.get("gen_ai_response_finish_reasons") == ["error"]:
        found["error_type"] = found.get("error_type") or "_OTHER"
    if (record.event if record.is_log else record.name) in dialect.about_span:
        found["usage_role"] = "mirror"


def _settle_usage(record: Record, dialect: Dialect, kind: str, found: Meaning) -> None:
    """Make input inclusive of the cache and output inclusive of reasoning, and say what the source meant."""
    total, read, written = (
        found.get(f"gen_ai_usage_{name}input_tokens") for name in ("", "cache_read_", "cache_write_")
    )
    output, reasoning = found.get("gen_ai_usage_output_tokens"), found.get("gen_ai_usage_reasoning_output_tokens")
    everything = found.pop("usage_total_tokens", None)
    if total is None and output is None:
        if kind in _CALLS:
            found["usage_role"] = "missing"
        return
    found["usage_role"] = "leaf" if kind in _CALLS else "container"
    split = dialect.exclusive_when is not None and dialect.exclusive_when(record) is not None
    semantics = "exclusive" if split else dialect.usage
    cached = sum(part for part in (read, written) if isinstance(part, int))
    left_out = _left_out(everything, total, output, cached, reasoning)
    if isinstance(total, int):
        if cached > total or "cache" in left_out:
            semantics = "exclusive"
        if semantics == "exclusive":
            found["gen_ai_usage_input_tokens"] = total + cached
        found["usage_semantics"] = semantics
    split = split or dialect.output_excludes_reasoning or "reasoning" in left_out
    if split and isinstance(output, int) and isinstance(reasoning, int):
        found["gen_ai_usage_output_tokens"] = output + reasoning


def _left_out(everything: object, total: object, output: object, cached: int, reasoning: object) -> tuple[str, ...]:
    """What the source's own grand total proves input and output to leave out: `cache`, `reasoning`, both or neither."""
    if not (isinstance(everything, int) and isinstance(total, int) and isinstance(output, int)):
        return ()
    thoughts = reasoning if isinstance(reasoning, int) else 0
    missing = everything - total - output
    if missing <= 0:
        return ()
    sums = {cached: ("cache",), thoughts: ("reasoning",), cached + thoughts: ("cache", "reasoning")}
    return sums.get(missing, ())


def is_pseudo_tool(name: str, dialect: Dialect) -> bool:
    """Whether a tool is a framework's own device (its final answer, its plan) and no call of the agent."""
    return name in dialect.pseudo_tools or name in _PSEUDO_TOOLS


def split_tool(name: str) -> tuple[str | None, str]:
    """The MCP server and the bare tool of `mcp__server__tool`; no server for any other name."""
    if name.startswith("mcp__"):
        server, _, tool = name[5:].partition("__")
        if server and tool:
            return server, tool
    return None, name


def tool_type(name: str, raw: object, mcp_server: object, dialect: Dialect) -> str:
    """The contract's type of a tool call."""
    if _HANDOFF.match(name):
        return "handoff"
    if name in dialect.subagent_tools or _SUBAGENT.match(name):
        return "subagent"
    if mcp_server:
        return "mcp"
    if isinstance(raw, str) and raw in _TOOL_TYPES:
        return raw
    if name in _CODE_TOOLS:
        return "code"
    return "builtin" if dialect.name in _CLI_DIALECTS else "function"


def _settle_tool(record: Record, dialect: Dialect, found: Meaning) -> None:
    raw_name = found.get("gen_ai_tool_name")
    if isinstance(raw_name, str):
        server, name = split_tool(raw_name)
        inner = found.get("mcp_tool_name")
        name = inner if isinstance(inner, str) else name
        found["gen_ai_tool_name"] = name
        found["mcp_server"] = found.get("mcp_server") or server
        if found["operation_kind"] == "handoff":
            found["gen_ai_tool_type"] = "handoff"
        else:
            found["gen_ai_tool_type"] = tool_type(name, found.get("gen_ai_tool_type"), found["mcp_server"], dialect)
        if is_pseudo_tool(name, dialect):
            found["operation_kind"] = "step"
    _settle_arguments(record, dialect, found)
    result = found.get("tool_result")
    if found.get("exit_code") is None:
        found["exit_code"] = exit_code_in(result)
    found["tool_outcome"] = _outcome(record, found)


def _settle_arguments(record: Record, dialect: Dialect, found: Meaning) -> None:
    """Some dialects spread the arguments over attributes of their own; give those their key back."""
    if not dialect.argument_keys or not isinstance(found.get("tool_arguments"), str):
        return
    for attribute, key in dialect.argument_keys.items():
        if record.attributes.get(attribute) == found["tool_arguments"]:
            found["tool_arguments"] = {key: found["tool_arguments"]}
            return


def _outcome(record: Record, found: Meaning) -> str | None:
    decision, code = found.get("decision"), found.get("exit_code")
    if found["operation_kind"] == "approval":
        return "denied" if decision == "deny" else None
    error = found.get("error_type")
    message = record.attributes.get("error") or record.attributes.get("error.message")
    return outcome(
        Signs(
            status=record.status,
            status_message=message if isinstance(message, str) else None,
            error_type=error if isinstance(error, str) else None,
            success=found.get("tool_success"),
            decision=decision if isinstance(decision, str) else None,
            exit_code=code if isinstance(code, int) else None,
            result=found.get("tool_result"),
        )
    )
