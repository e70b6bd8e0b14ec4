"""Every raw column of the store, defined once: the writer, the documentation and the tests read this.

Three layers share it. `WIRE` is what a decoder gives: the request as it came, no meaning added.
`SPANS`, `SPAN_EVENTS`, `SPAN_LINKS`, `LOG_EVENTS`, `METRIC_POINTS` and `CONTENT` are the datasets on
disk: the same rows after the dialect, redaction and identity were applied.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from headgate_processors.signals import Signal

LOW = pa.dictionary(pa.int32(), pa.string())
TEXT = pa.string()
INT = pa.int64()
BOOL = pa.bool_()
DOUBLE = pa.float64()
MONEY = pa.decimal128(18, 9)
TEXTS = pa.list_(pa.string())


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its Arrow type, unit, whether NULL may stand there, where it comes from, one line of doc."""

    name: str
    type: pa.DataType
    doc: str
    source: str = ""
    unit: str = ""
    nullable: bool = True

    @property
    def field(self) -> pa.Field:
        """The Arrow field."""
        return pa.field(self.name, self.type, nullable=self.nullable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A table on disk: its name, what one row is, and its columns in order."""

    name: str
    row: str
    columns: tuple[Column, ...]
    schema: pa.Schema = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", pa.schema([column.field for column in self.columns]))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.schema.get_field_index(name) >= 0


def _col(name: str, type_: pa.DataType, doc: str, source: str = "", unit: str = "", *, nullable: bool = True) -> Column:
    return Column(name=name, type=type_, doc=doc, source=source, unit=unit, nullable=nullable)


def _must(name: str, type_: pa.DataType, doc: str, source: str = "", unit: str = "") -> Column:
    return _col(name, type_, doc, source, unit, nullable=False)


_ORIGIN = (
    _must("resource_attributes", LOW, "Resource attributes, one JSON object.", "resource.attributes", "json"),
    _col("scope_name", LOW, "Instrumentation scope.", "scope.name"),
    _col("scope_version", LOW, "Version of the instrumentation scope.", "scope.version"),
    _col("scope_attributes", LOW, "Scope attributes, NULL when there are none.", "scope.attributes", "json"),
    _col("schema_url", LOW, "Schema URL of the scope, else of the resource.", "schema_url"),
)

_WIRE_SPANS = (
    _must("trace_id", TEXT, "Trace id, 32 hexadecimal digits.", "span.trace_id"),
    _must("span_id", TEXT, "Span id, 16 hexadecimal digits.", "span.span_id"),
    _col("parent_span_id", TEXT, "Parent span id; NULL at a root.", "span.parent_span_id"),
    _col("trace_state", LOW, "W3C trace state.", "span.trace_state"),
    _must("flags", INT, "Span flags.", "span.flags"),
    _must("name", TEXT, "Span name.", "span.name"),
    _must("kind", LOW, "`INTERNAL`, `SERVER`, `CLIENT`, `PRODUCER`, `CONSUMER` or `UNSPECIFIED`.", "span.kind"),
    _must("start_time_unix_nano", INT, "Start.", "span.start_time_unix_nano", "ns"),
    _col("end_time_unix_nano", INT, "End; NULL while the span has none.", "span.end_time_unix_nano", "ns"),
    _must("status_code", LOW, "`UNSET`, `OK` or `ERROR`.", "span.status.code"),
    _col("status_message", TEXT, "Status message, redacted.", "span.status.message"),
    _must("attributes", TEXT, "Span attributes, one JSON object.", "span.attributes", "json"),
    _col(
        "events",
        TEXT,
        "Span events: JSON array of `{name, time_unix_nano, attributes}`; NULL when there are none.",
        "span.events",
        "json",
    ),
    _col(
        "links",
        TEXT,
        "Span links: JSON array of `{trace_id, span_id, trace_state, attributes}`; NULL when there are none.",
        "span.links",
        "json",
    ),
    _must("dropped_attributes_count", INT, "Attributes that the SDK dropped.", "span.dropped_attributes_count"),
)

_WIRE_LOGS = (
    _must(
        "time_unix_nano",
        INT,
        "Time of the event, else the time it was observed; 0 when neither.",
        "log.time_unix_nano",
        "ns",
    ),
    _col("observed_time_unix_nano", INT, "Time it was observed.", "log.observed_time_unix_nano", "ns"),
    _col("severity_number", INT, "Severity, 1 to 24.", "log.severity_number"),
    _col("severity_text", LOW, "Severity as text.", "log.severity_text"),
    _col("event_name", LOW, "Event name, else the attribute `event.name`.", "log.event_name"),
    _col("body", TEXT, "Body as JSON text.", "log.body", "json"),
    _col("trace_id", TEXT, "Trace id, NULL when absent or zeros.", "log.trace_id"),
    _col("span_id", TEXT, "Span id, NULL when absent or zeros.", "log.span_id"),
    _must("flags", INT, "Log record flags.", "log.flags"),
    _must("attributes", TEXT, "Log attributes, one JSON object.", "log.attributes", "json"),
    _must("dropped_attributes_count", INT, "Attributes that the SDK dropped.", "log.dropped_attributes_count"),
)

_WIRE_METRICS = (
    _must("name", LOW, "Metric name.", "metric.name"),
    _col("description", LOW, "Metric description.", "metric.description"),
    _col("unit", LOW, "Metric unit.", "metric.unit"),
    _must("type", LOW, "`gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`.", "metric.data"),
    _col("aggregation_temporality", LOW, "`delta`, `cumulative` or NULL.", "aggregation_temporality"),
    _col("is_monotonic", BOOL, "Whether a sum only grows.", "is_monotonic"),
    _col("start_time_unix_nano", INT, "Start of the interval.", "point.start_time_unix_nano", "ns"),
    _must("time_unix_nano", INT, "Time of the point.", "point.time_unix_nano", "ns"),
    _col("value", DOUBLE, "Value of a gauge or sum.", "point.as_double, point.as_int"),
    _col("count", INT, "Number of values.", "point.count"),
    _col("sum", DOUBLE, "Sum of the values.", "point.sum"),
    _col("min", DOUBLE, "Smallest value.", "point.min"),
    _col("max", DOUBLE, "Largest value.", "point.max"),
    _col("buckets", TEXT, "Bounds and counts of a histogram, quantiles of a summary.", "point", "json"),
    _must("attributes", TEXT, "Point attributes, one JSON object.", "point.attributes", "json"),
    _col("exemplars", TEXT, "Exemplars as a JSON array.", "point.exemplars", "json"),
    _must("flags", INT, "Point flags.", "point.flags"),
)

WIRE: Mapping[Signal, Dataset] = {
    Signal.TRACES: Dataset(name="wire_spans", row="span", columns=_WIRE_SPANS + _ORIGIN),
    Signal.LOGS: Dataset(name="wire_logs", row="log record", columns=_WIRE_LOGS + _ORIGIN),
    Signal.METRICS: Dataset(name="wire_metrics", row="data point", columns=_WIRE_METRICS + _ORIGIN),
}

_RECORD = (
    _must("record_id", TEXT, "Stable id of the record; a resent record has the same.", "headgate"),
    _must(
        "witness", LOW, "Who saw it: `client`, `gateway`, `runtime`, `control` or `provider`.", "sender's credential"
    ),
    _must("received_unix_nano", INT, "When the receiver took it.", "receiver clock", "ns"),
    _must(
        "time_suspect",
        BOOL,
        "Its time is missing, more than a year before it was received, or more than a day after.",
        "headgate",
    ),
    _col("dialect", LOW, "Which dialect table read it; NULL when none knows it.", "headgate"),
    _col("dialect_version", LOW, "Version of that table.", "headgate"),
    _col("service_name", LOW, "Service name.", "service.name"),
    _col("service_version", LOW, "Service version.", "service.version"),
    _col("service_instance_id", LOW, "Service instance, often one process.", "service.instance.id"),
)

WHO = (
    _must("tenant", LOW, "Tenant.", "configuration"),
    _col("instance_id", LOW, "Agent instance; a stable synthetic id when unknown.", "registry"),
    _col("parent_instance_id", LOW, "Instance that started this one.", "registry"),
    _col("root_instance_id", LOW, "First instance of the lineage.", "registry"),
    _col(
        "identity_source",
        LOW,
        "Where `instance_id` comes from: `verified`, `claimed`, `matched` or `unknown`.",
        "headgate",
    ),
    _col("launched_by", LOW, "User or service that launched the instance.", "registry"),
    _col("user_id", LOW, "User, claimed on the resource or registered.", "headgate.user.id, user.id"),
    _col("team", LOW, "Team.", "headgate.team, team"),
    _col("workflow", LOW, "Workflow.", "headgate.workflow, workflow"),
    _col("repo", LOW, "Repository.", "headgate.repo, repo"),
    _col("resource", LOW, "Resource other than a repository.", "registry"),
    _col("environment", LOW, "Deployment environment.", "registry, deployment.environment.name"),
    _col("task_class", LOW, "Class of task.", "headgate.task_class"),
    _col("risk_tier", LOW, "Risk tier.", "registry"),
    _col("policy_profile", LOW, "Policy profile.", "registry"),
    _col("manifest_digest", LOW, "Digest of the capability manifest.", "registry"),
    _col("runtime", LOW, "Runtime that the instance runs in.", "registry"),
    _col("work_item", LOW, "Issue, else pull request.", "headgate.work_item, vcs.change.id"),
)

MEANING = (
    _col(
        "operation_kind",
        LOW,
        "What the record is: `llm`, `embedding`, `retrieval`, `tool`, `tool_attempt`, `agent`, `agent_setup`, `workflow`, `step`, `approval`, `guardrail`, `eval`, `memory`, `task`, `attempt`, `handoff`, `message`, `decision`, `stop` or `other`.",
        "dialect",
    ),
    _col("gen_ai_operation_name", LOW, "Operation.", "gen_ai.operation.name"),
    _col("gen_ai_provider_name", LOW, "Provider, never a framework's name.", "gen_ai.provider.name"),
    _col("gen_ai_request_model", LOW, "Model asked for.", "gen_ai.request.model"),
    _col("gen_ai_response_model", LOW, "Model that answered.", "gen_ai.response.model"),
    _col("service_tier", LOW, "Service tier that the provider answered with.", "openai.response.service_tier"),
    _col("gen_ai_response_id", TEXT, "Response id.", "gen_ai.response.id"),
    _col("request_id", TEXT, "Request id of the provider.", "request-id header"),
    _col(
        "gen_ai_response_finish_reasons",
        TEXTS,
        "`stop`, `length`, `content_filter`, `tool_call`, `error` or `compaction`.",
        "gen_ai.response.finish_reasons",
    ),
    _col("gen_ai_usage_input_tokens", INT, "Input, cache included.", "gen_ai.usage.input_tokens", "token"),
    _col(
        "gen_ai_usage_cache_read_input_tokens",
        INT,
        "Of it read from a cache.",
        "gen_ai.usage.cache_read.input_tokens",
        "token",
    ),
    _col(
        "gen_ai_usage_cache_write_input_tokens",
        INT,
        "Of it written to a cache.",
        "gen_ai.usage.cache_write.input_tokens",
        "token",
    ),
    _col("cache_write_1h_tokens", INT, "Of the written, kept for an hour.", "dialect", "token"),
    _col("gen_ai_usage_output_tokens", INT, "Output, reasoning included.", "gen_ai.usage.output_tokens", "token"),
    _col(
        "gen_ai_usage_reasoning_output_tokens", INT, "Of it reasoning.", "gen_ai.usage.reasoning.output_tokens", "token"
    ),
    _col("usage_semantics", LOW, "How the source counts input: `inclusive`, `exclusive` or `unknown`.", "dialect"),
    _col(
        "usage_role",
        LOW,
        "Provisional role at ingest, `leaf`, `container`, `mirror` or `missing`; `usage_records` has the final one.",
        "dialect",
    ),
    _col("time_to_first_chunk_ns", INT, "Time to the first chunk.", "gen_ai.response.time_to_first_chunk", "ns"),
    _col("reported_cost_usd", MONEY, "Cost as the agent reported it.", "dialect", "USD"),
    _col("event_duration_ns", INT, "Duration that a log event reports of itself.", "dialect", "ns"),
    _col("attempt", INT, "Number of attempts that a call says it took.", "dialect"),
    _col("session_key", TEXT, "The source's own key of the session.", "dialect"),
    _col("gen_ai_conversation_id", TEXT, "Conversation id as sent.", "gen_ai.conversation.id"),
    _col("turn_id", TEXT, "Turn of the user.", "dialect"),
    _col("event_sequence", INT, "The source's own order.", "event.sequence"),
    _col("gen_ai_agent_name", LOW, "Agent name.", "gen_ai.agent.name"),
    _col("gen_ai_agent_id", TEXT, "Agent id as sent; never a key.", "gen_ai.agent.id"),
    _col("gen_ai_workflow_name", LOW, "Workflow name as sent.", "gen_ai.workflow.name"),
    _col("gen_ai_tool_name", LOW, "Tool, without server prefix.", "gen_ai.tool.name"),
    _col("gen_ai_tool_call_id", TEXT, "Tool call id.", "gen_ai.tool.call.id"),
    _col("gen_ai_tool_type", LOW, "`function`, `mcp`, `builtin`, `code`, `handoff` or `subagent`.", "gen_ai.tool.type"),
    _col("tool_version", LOW, "Tool version.", "dialect"),
    _col("mcp_server", LOW, "MCP server.", "dialect"),
    _col("mcp_method_name", LOW, "MCP method.", "mcp.method.name"),
    _col(
        "tool_outcome",
        LOW,
        "`ok`, `error`, `denied`, `timeout`, `cancelled`, `empty`; NULL when nothing tells.",
        "dialect",
    ),
    _col("exit_code", INT, "Exit code of a command.", "dialect"),
    _col("error_type", LOW, "Error type.", "error.type, exception.type"),
    _col("http_response_status_code", INT, "HTTP status.", "http.response.status_code"),
    _col("decision", LOW, "`allow`, `deny`, `modify` or `require_approval`, as the agent reported it.", "dialect"),
    _col("decision_source", LOW, "Who decided: `user`, `config`, `hook`, `policy` or `gateway`.", "dialect"),
    _col("hash_key_id", LOW, "Key of the hashes in this row.", "headgate"),
    _col("arguments_hash", TEXT, "Keyed hash of the canonical arguments.", "tool arguments", "hex"),
    _col("arguments_bytes", INT, "Size of the arguments as sent.", "tool arguments", "byte"),
    _col("result_hash", TEXT, "Keyed hash of the result.", "tool result", "hex"),
    _col("result_bytes", INT, "Size of the result as sent.", "tool result", "byte"),
    _col("action", LOW, "What the call did, by the action rules.", "actions.yaml"),
    _col("action_resource", TEXT, "What the action touched, redacted.", "actions.yaml"),
    _col("sensitivity", LOW, "`public`, `internal`, `confidential` or `secret`.", "actions.yaml"),
    _col("reversible", BOOL, "Whether the action can be undone.", "actions.yaml"),
    _col("side_effects", LOW, "`none`, `local` or `external`.", "actions.yaml"),
    _col("system_hash", TEXT, "Keyed hash of the system prompt.", "content", "hex"),
    _col("tools_hash", TEXT, "Keyed hash of the tool definitions.", "content", "hex"),
    _col("prefix_hash", TEXT, "Keyed chain hash of tools and system prompt.", "content", "hex"),
    _col("prompt_hash", TEXT, "Keyed hash of the input messages.", "content", "hex"),
    _col("prompt_name", LOW, "Prompt template.", "gen_ai.prompt.name"),
    _col("prompt_version", LOW, "Version of the prompt template.", "gen_ai.prompt.version"),
    _col(
        "context_source", LOW, "Source with most new bytes: `system`, `user`, `tool_result` or `assistant`.", "content"
    ),
    _col("context_compacted", BOOL, "Whether the context had just been compacted.", "gen_ai.conversation.compacted"),
    _col("memory_refs", TEXTS, "Memory records that the context used.", "gen_ai.memory.record.id"),
    _col(
        "requested_tools",
        TEXT,
        "Tool calls that the model's message asks for: array of `{id, name, type, mcp_server, arguments_hash, arguments_bytes, action, resource, sensitivity, reversible, side_effects}`.",
        "output messages",
        "json",
    ),
    _col(
        "returned_tools",
        TEXT,
        "Tool results new in the input: array of `{id, result_hash, result_bytes, outcome, exit_code}`.",
        "input messages",
        "json",
    ),
)

_STORED_SPANS = tuple(c for c in _WIRE_SPANS if c.name not in {"events", "links"})

SPANS = Dataset(name="spans", row="span", columns=_STORED_SPANS + _RECORD + WHO + MEANING + _ORIGIN)
LOG_EVENTS = Dataset(name="log_events", row="log record", columns=_WIRE_LOGS + _RECORD + WHO + MEANING + _ORIGIN)
METRIC_POINTS = Dataset(name="metric_points", row="data point", columns=_WIRE_METRICS + _RECORD + WHO + _ORIGIN)
SPAN_EVENTS = Dataset(
    name="span_events",
    row="span event",
    columns=(
        _must("trace_id", TEXT, "Trace id.", "span.trace_id"),
        _must("span_id", TEXT, "Span id.", "span.span_id"),
        _must("ordinal", INT, "Position in the span.", "headgate"),
        _must("name", LOW, "Event name.", "event.name"),
        _must("time_unix_nano", INT, "Time.", "event.time_unix_nano", "ns"),
        _must("attributes", TEXT, "Attributes without content, one JSON object.", "event.attributes", "json"),
        *_RECORD,
        *WHO,
        _must("resource_attributes", LOW, "Resource attributes, one JSON object.", "resource.attributes", "json"),
    ),
)
SPAN_LINKS = Dataset(
    name="span_links",
    row="span link",
    columns=(
        _must("trace_id", TEXT, "Trace id.", "span.trace_id"),
        _must("span_id", TEXT, "Span id.", "span.span_id"),
        _must("ordinal", INT, "Position in the span.", "headgate"),
        _must("linked_trace_id", TEXT, "Trace linked to.", "link.trace_id"),
        _must("linked_span_id", TEXT, "Span linked to.", "link.span_id"),
        _col("trace_state", LOW, "Trace state.", "link.trace_state"),
        _must("attributes", TEXT, "Attributes, `headgate.*` removed.", "link.attributes", "json"),
        *_RECORD,
        *WHO,
        _must("resource_attributes", LOW, "Resource attributes, one JSON object.", "resource.attributes", "json"),
    ),
)
CONTENT = Dataset(
    name="content",
    row="piece of content of a record",
    columns=(
        _must("record_id", TEXT, "Record that carried it.", "headgate"),
        _must("signal", LOW, "`traces` or `logs`.", "headgate"),
        _col("trace_id", TEXT, "Trace id.", "record"),
        _col("span_id", TEXT, "Span id.", "record"),
        _must(
            "field",
            LOW,
            "`input_messages`, `output_messages`, `system_instructions`, `tool_definitions`, `tool_arguments`, `tool_result`, `requested_tools`, `task`, `response` or `other`.",
            "dialect",
        ),
        _must("attribute", LOW, "Where the source had it.", "dialect"),
        _must("text", TEXT, "The content, redacted.", "record"),
        _must("bytes", INT, "Size before redaction.", "record", "byte"),
        _must("hash", TEXT, "Keyed hash before redaction.", "record", "hex"),
        _must("hash_key_id", LOW, "Key of the hash.", "headgate"),
        _col(
            "redacted", LOW, "Classes of what was redacted, comma-separated; NULL when nothing was.", "redaction.yaml"
        ),
        _must("received_unix_nano", INT, "When the receiver took it.", "receiver clock", "ns"),
        _must("tenant", LOW, "Tenant.", "configuration"),
        _col("service_name", LOW, "Service name.", "service.name"),
    ),
)

DATASETS: Mapping[str, Dataset] = {
    dataset.name: dataset for dataset in (SPANS, SPAN_EVENTS, SPAN_LINKS, LOG_EVENTS, METRIC_POINTS, CONTENT)
}
