"""The views of control's own records, defined once: where each column comes from, and which record counts.

Control and the gateways send them as log events, whose attributes are the columns under `headgate.`. A view shows
what these parts sent, never what a client says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from headgate_analytics.schema import WHO
from headgate_processors.schema import BOOL, DOUBLE, INT, LOW, MONEY, TEXT, TEXTS, Column, Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlView:
    """One view: the events that it is made of, and what makes two of them tell of one thing, of which the last counts.

    `renamed` are columns whose attribute has another name. A view without a `key` shows every event.
    """

    dataset: Dataset
    event: str
    key: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    def attribute(self, column: str) -> str:
        """The attribute that a column comes from."""
        return f"headgate.{self.renamed.get(column, column)}"


def _col(name: str, type_: pa.DataType, doc: str, unit: str = "", source: str | None = None) -> Column:
    return Column(name=name, type=type_, doc=doc, unit=unit, source=f"headgate.{name}" if source is None else source)


_TIME = _col("time_unix_nano", INT, "When.", "ns", "log.time_unix_nano")
_TENANT = _col("tenant", LOW, "Tenant.", source="log_events")

DECISIONS = ControlView(
    event="headgate.decision",
    key=("decision_id",),
    dataset=Dataset(
        name="decisions",
        row="decision",
        columns=(
            _col("decision_id", TEXT, "Id of the decision, in the log of control and in the answer."),
            *(
                Column(name=column.name, type=column.type, doc=column.doc, unit=column.unit, source=column.source)
                for column in WHO
            ),
            _TIME,
            _col("action", LOW, "What was asked for: `model.call`, `tools/call` …"),
            _col("resource_type", LOW, "Kind of what it was asked of: `model`, `tool` …"),
            _col(
                "resource_id", TEXT, "What it was asked of: `provider/model`, `[server/]tool`, `host:port`, a path, …"
            ),
            _col("decision", BOOL, "Whether it was allowed."),
            _col("effect", LOW, "`allow`, `deny`, `modify` or `require_approval`."),
            _col("code", LOW, "Step that denied: `stopped`, `paused`, `budget`, `policy` …; NULL when none did."),
            _col("reason", TEXT, "Why."),
            _col("warnings", TEXTS, "Soft budgets that what was allowed has passed."),
            _col("policy_ids", TEXTS, "Policies that determined it."),
            _col("policy_digest", LOW, "Digest of the policies."),
            _col("stop_id", TEXT, "Stop or pause that denied it."),
            _col("stop_epoch", INT, "Epoch of the stops that it was decided under."),
            _col("session_key", TEXT, "Session as the agent names it."),
            _col("tool_use_id", TEXT, "The agent's own id of the tool call."),
            _col("reservation_id", TEXT, "Reservation of budget."),
            _col("enforcement_point", LOW, "Who asked and enforces."),
            _col("latency_ns", INT, "How long the decision took.", "ns"),
            _col("trace_id", TEXT, "Trace of the call.", source="log.trace_id"),
            _col("span_id", TEXT, "Span of the call.", source="log.span_id"),
        ),
    ),
)

STOPS = ControlView(
    event="headgate.stop",
    key=("stop_id",),
    dataset=Dataset(
        name="stops",
        row="stop or pause",
        columns=(
            _col("stop_id", TEXT, "Id of the stop."),
            _TENANT,
            _col("scope", LOW, "`instance`, `session`, `workflow`, `team`, `tool`, `model`, `identity` …"),
            _col("target", TEXT, "Which; empty for the platform."),
            _col("mode", LOW, "`stop` cuts what runs, `pause` lets it end."),
            _col("reason", TEXT, "Why."),
            _col("author", LOW, "Who gave it."),
            _col("epoch", INT, "Number of the change that brought it."),
            _col("accepted_unix_nano", INT, "When control accepted it.", "ns"),
            _col("expires_unix_nano", INT, "When it ends by itself; NULL when never.", "ns"),
            _col("ended_unix_nano", INT, "When it was ended; NULL while it was not.", "ns"),
            _col("state", LOW, "`active`, `ended` or `expired`."),
        ),
    ),
)

STOP_EFFECTS = ControlView(
    event="headgate.stop_effect",
    key=("stop_id", "epoch", "enforcement_point"),
    dataset=Dataset(
        name="stop_effects",
        row="enforcement point that acknowledged a stop",
        columns=(
            _col("stop_id", TEXT, "The stop."),
            _TENANT,
            _col("epoch", INT, "Its epoch."),
            _col("enforcement_point", LOW, "Who enforces it."),
            _col("effect_ns", INT, "From accepting the stop to hearing so, by control's monotonic clock.", "ns"),
            _col("cut", INT, "Open calls that were cut."),
            _TIME,
        ),
    ),
)

BUDGETS = ControlView(
    event="headgate.budget",
    key=("budget_id", "turn"),
    dataset=Dataset(
        name="budgets",
        row="budget and window of it",
        columns=(
            _col("budget_id", TEXT, "Id of the budget."),
            _TENANT,
            _col("scope", LOW, "`platform`, `team`, `user`, `workflow`, `task_class`, `model`, `session`, `instance`."),
            _col("target", TEXT, "Which."),
            _col("window", LOW, "`total`, `hour`, `day` or `month`."),
            _col("turn", TEXT, "Which window, in UTC: `2026-11-30`; empty where there is only one."),
            _col("mode", LOW, "`hard` refuses, `soft` warns."),
            _col("limit_usd", MONEY, "Ceiling; NULL when there is none.", "USD"),
            _col("limit_tokens", INT, "Ceiling.", "token"),
            _col("limit_calls", INT, "Ceiling.", "call"),
            _col("limit_seconds", DOUBLE, "Ceiling of wall time.", "s"),
            _col("settled_usd", MONEY, "Spent.", "USD"),
            _col("settled_tokens", INT, "Spent.", "token"),
            _col("settled_calls", INT, "Spent.", "call"),
            _col("settled_seconds", DOUBLE, "Spent.", "s"),
            _col("reserved_usd", MONEY, "Reserved by calls that are open.", "USD"),
            _col("reserved_tokens", INT, "Reserved.", "token"),
            _col("reserved_calls", INT, "Reserved.", "call"),
            _col("reserved_seconds", DOUBLE, "Reserved.", "s"),
            _TIME,
        ),
    ),
)

INSTANCES = ControlView(
    event="headgate.instance",
    key=("instance_id",),
    renamed={"user_id": "user", "parent_instance_id": "parent", "root_instance_id": "root"},
    dataset=Dataset(
        name="instances",
        row="agent instance that control has registered",
        columns=(
            _col("instance_id", TEXT, "Id of the instance."),
            _TENANT,
            _col("state", LOW, "`created`, `running`, `stopped`, `ended` or `revoked`."),
            _col("created_unix_nano", INT, "When it was registered.", "ns"),
            _col("expires_unix_nano", INT, "When its credentials end; NULL when never.", "ns"),
            _col("launched_by", LOW, "User or service that launched it."),
            _col("user_id", LOW, "User.", source="headgate.user"),
            *(
                _col(name, LOW, doc)
                for name, doc in (
                    ("team", "Team."),
                    ("workflow", "Workflow."),
                    ("repo", "Repository."),
                    ("resource", "Resource other than a repository."),
                    ("environment", "Environment."),
                    ("task_class", "Class of task."),
                    ("risk_tier", "Risk tier."),
                    ("policy_profile", "Policy profile."),
                    ("manifest_digest", "Digest of the capability manifest."),
                    ("runtime", "Runtime."),
                )
            ),
            _col("parent_instance_id", TEXT, "Instance that started it.", source="headgate.parent"),
            _col("root_instance_id", TEXT, "First of its lineage.", source="headgate.root"),
            _col("restart_of", TEXT, "Instance whose work it takes up again."),
            _TIME,
        ),
    ),
)

AUDIT = ControlView(
    event="headgate.audit",
    dataset=Dataset(
        name="audit",
        row="change of control's state",
        columns=(
            _col("position", INT, "Position in control's journal."),
            _TENANT,
            _TIME,
            _col("writer", LOW, "Whose chain the record is in."),
            _col("number", INT, "Its number there."),
            _col("author", LOW, "Who did it."),
            _col("action", LOW, "What was done."),
            _col("reason", TEXT, "Why."),
            _col("kind", LOW, "Kind of what was changed."),
            _col("id", TEXT, "Which."),
            _col("before", TEXT, "What it was; NULL for what is new.", "json"),
            _col("after", TEXT, "What it is; NULL for what is gone.", "json"),
            _col("digest", TEXT, "Digest of the record in its chain.", "hex"),
        ),
    ),
)

CONTROL: Mapping[str, ControlView] = {
    view.dataset.name: view for view in (DECISIONS, STOPS, STOP_EFFECTS, BUDGETS, INSTANCES, AUDIT)
}
