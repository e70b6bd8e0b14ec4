"""The views of control's records as SQL over `log_events`, with whom a decision was about from the session it is in."""

from collections.abc import Collection, Iterator

import pyarrow as pa

from headgate_analytics.control_schema import CONTROL, DECISIONS, STOPS, ControlView
from headgate_analytics.schema import MODEL_CALLS, SESSIONS, TOOL_CALLS, WHO
from headgate_processors.schema import LOG_EVENTS, Column
from headgate_processors.store.relation import SqlTable, quote, sql_type, text

_BELIEVED = "('control', 'gateway', 'runtime')"
_ORDER = "time_unix_nano DESC, received_unix_nano DESC, record_id DESC"
_UUID = "[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"
_ULID = "[0-7][0-9a-hjkmnp-tv-z]{25}"
_UNIQUE = f"(^|[^0-9a-z])({_UUID}|{_ULID})($|[^0-9a-z])"
# Claims that the record itself carries, where nobody registered the instance.
_CLAIMED = {
    "user_id": "headgate.user.id",
    "team": "headgate.team",
    "workflow": "headgate.workflow",
    "repo": "headgate.repo",
    "task_class": "headgate.task_class",
}
_OF_RECORD = frozenset(column.name for column in LOG_EVENTS.columns)


def needed(names: Collection[str]) -> set[str]:
    """The views that these are made of, themselves included."""
    found = set(names)
    if not found.isdisjoint(CONTROL):
        found.add(LOG_EVENTS.name)
    if DECISIONS.dataset.name in found:
        found |= {SESSIONS.name, MODEL_CALLS.name, TOOL_CALLS.name}
    return found


def control_views_sql(*, only: Collection[str] | None = None, now_unix_nano: int | None = None) -> str:
    """Statements that make the views of control's records, or those that `only` names, over the views of the store.

    A stop that ends by itself has ended when it is that late, now or at `now_unix_nano`.
    """
    return "".join(
        _statement(view, _query(view, now_unix_nano)) for name, view in CONTROL.items() if only is None or name in only
    )


def _statement(view: ControlView, query: str) -> str:
    table = SqlTable.of(view.dataset)
    return f"CREATE VIEW {quote(table.name)} AS\nSELECT {table.shown}\nFROM (\n{query}\n);\n"


def _query(view: ControlView, now_unix_nano: int | None) -> str:
    if view is DECISIONS:
        return _decisions(view)
    columns = ", ".join(f"{_value(view, column)} AS {quote(column.name)}" for column in view.dataset.columns)
    rows = f"SELECT {columns}, received_unix_nano, record_id FROM ({_events(view)})"
    if view is STOPS:
        now = "epoch_us(now()) * 1000" if now_unix_nano is None else str(now_unix_nano)
        ended = f"CASE WHEN state = 'active' AND expires_unix_nano <= {now} THEN 'expired' ELSE state END"
        return f"SELECT * REPLACE ({ended} AS state) FROM ({rows})"
    return rows


def _events(view: ControlView) -> str:
    """The events of a view, of those that tell of one thing the last."""
    rows = f"SELECT * FROM log_events WHERE event_name = {text(view.event)} AND witness IN {_BELIEVED}"
    if not view.key:
        return rows
    key = ", ".join(_attribute(view.attribute(name)) for name in view.key)
    return f"{rows} QUALIFY row_number() OVER (PARTITION BY tenant, {key} ORDER BY {_ORDER}) = 1"


def _attribute(name: str) -> str:
    return f"(attributes ->> {_path(name)})"


def _path(name: str) -> str:
    return text('$."' + name + '"')


def _value(view: ControlView, column: Column) -> str:
    """An SQL expression of one column over a row of `log_events`."""
    if column.name in {"tenant", "time_unix_nano"}:
        return column.name
    if column.name in {"trace_id", "span_id"} and view is DECISIONS:
        return column.name
    if column.type == pa.list_(pa.string()):
        return f"TRY_CAST(json_extract(attributes, {_path(view.attribute(column.name))}) AS VARCHAR[])"
    value = _attribute(view.attribute(column.name))
    kind = sql_type(column.type)
    return value if kind == "VARCHAR" else f"TRY_CAST({value} AS {kind})"


def _decisions(view: ControlView) -> str:
    """Each decision with its session: of the call that carries it, else of its trace, else of the key it names."""
    own = [column for column in view.dataset.columns if column.name not in {one.name for one in WHO}]
    columns = ", ".join(f"{_value(view, column)} AS {quote(column.name)}" for column in own)
    record = ", ".join(f"{name} AS own_{name}" for name in sorted(_who_names() & _OF_RECORD))
    claims = ", ".join(f"{_attribute(attribute)} AS told_{name}" for name, attribute in _CLAIMED.items())
    who = ", ".join(_who())
    attempts = "SELECT unnest(attempt_decision_ids) AS decision_id, session_id FROM model_calls"
    by_call, by_trace = _sessions_by("decision_id", attempts), _sessions_by("trace_id")
    return f"""\
WITH told AS (
  SELECT {columns}, {record}, {claims}, witness, {_attribute("headgate.instance_id")} AS told_instance_id,
    received_unix_nano, record_id
  FROM ({_events(view)})
), placed AS (
  SELECT told.*, coalesce(by_call.session_id, by_trace.session_id, {_key_session()}) AS found
  FROM told LEFT JOIN ({by_call}) AS by_call USING (decision_id) LEFT JOIN ({by_trace}) AS by_trace USING (trace_id)
)
SELECT placed.* EXCLUDE (found), {who}
FROM placed LEFT JOIN sessions AS s ON s.session_id = placed.found"""


def _sessions_by(column: str, *more: str) -> str:
    """The session of each decision or trace, from the calls that have it."""
    every = [f"SELECT {column}, session_id FROM {name}" for name in ("model_calls", "tool_calls")]
    calls = " UNION ALL ".join((*every, *more))
    return f"SELECT {column}, min(session_id) AS session_id FROM ({calls}) WHERE {column} IS NOT NULL GROUP BY 1"


def _key_session() -> str:
    """The session that a key names by itself, as the stitching does."""
    key, scope = "told.session_key", "'headgate:' || coalesce(own_instance_id, told_instance_id)"
    unique = f"regexp_matches({key}, {text(_UNIQUE)}, 'i')"
    scoped = f"CASE WHEN {unique} THEN '' ELSE {scope} END"
    return f"substr(sha256(own_tenant || chr(0) || {scoped} || chr(0) || {key}), 1, 32)"


def _who_names() -> set[str]:
    return {column.name for column in WHO}


def _who() -> Iterator[str]:
    """Whom it was about: the instance of the credential first, then what the record claims, then the session's."""
    sure = "own_identity_source = 'verified'"
    for column in WHO:
        name = column.name
        if name == "tenant":
            yield "own_tenant AS tenant"
        elif name == "session_id":
            yield "found AS session_id"
        elif name == "witnesses":
            yield "[witness] AS witnesses"
        elif name in {"revision", "agent_name", "service_name"}:
            yield f"s.{name}"
        elif name == "identity_source":
            yield f"CASE WHEN {sure} THEN 'verified' ELSE coalesce(s.identity_source, 'unknown') END AS identity_source"
        else:
            told = f"told_{name}, " if name in _CLAIMED or name == "instance_id" else ""
            yield f"coalesce(CASE WHEN {sure} THEN own_{name} END, {told}s.{name}) AS {quote(name)}"
