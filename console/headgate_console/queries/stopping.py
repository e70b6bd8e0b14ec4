"""Which session a stop is about, in the words by which gateways know it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headgate_analytics.stitch import scope_of, session_key, trace_key
from headgate_console.queries.opening import open_views
from headgate_console.queries.rows import fetch
from headgate_console.queries.sessions import sessions_called, several
from headgate_control.stops.stop import TENANT
from headgate_processors.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from headgate_console.settings import Settings

_CALLS = """
    SELECT session_key, trace_id, instance_id, count(*) AS calls FROM decisions
    WHERE session_id = ? GROUP BY ALL ORDER BY 4 DESC, 1, 2
"""
_RECORDED = """
    SELECT stops.* EXCLUDE (tenant), max(effect_ns) / 1e6 AS effect_ms, sum(cut)::BIGINT AS cut
    FROM stops LEFT JOIN stop_effects USING (stop_id) GROUP BY ALL ORDER BY accepted_unix_nano DESC LIMIT ?
"""
RECORDED_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSession:
    """`id` is what to stop, `session_key` the source's own key of it; `warning` says for which calls it cannot hold."""

    id: str
    session_key: str | None = None
    warning: str | None = None


def session_to_stop(settings: "Settings", wanted: str) -> NamedSession:
    """The session that a session id, a unique prefix of one, or the source's own key names.

    One that is not known yet is stopped by that key.

    Raises:
        ConfigError: several sessions are called so, or gateways cannot tell the calls of this one.
    """
    try:
        connection = open_views(settings, only=("sessions", "model_calls", "tool_calls", "decisions"))
    except StoreError:
        return _unknown(wanted)
    found = sessions_called(connection, wanted)
    if len(found) > 1:
        raise ConfigError(several(wanted, found))
    if not found:
        return _unknown(wanted)
    known = _known(found[0], fetch(connection, _CALLS, [found[0]["session_id"]]))
    # Whoever gives the key itself means whatever has it.
    return replace(known, id=wanted) if wanted == known.session_key else known


def recorded_stops(settings: "Settings") -> list[dict[str, Any]]:
    """The last `RECORDED_MAX` stops, the newest first, each with its slowest effect and all that it cut.

    Raises:
        StoreError: the folder holds no store.
    """
    return fetch(open_views(settings, only=("stops", "stop_effects")), _RECORDED, [RECORDED_MAX])


def _unknown(wanted: str) -> NamedSession:
    warning = f"no session is called {wanted!r} yet: it holds for calls whose agent names its session so"
    return NamedSession(id=wanted, session_key=wanted, warning=warning)


def _known(session: Mapping[str, Any], calls: list[dict[str, Any]]) -> NamedSession:
    session_id, key = session["session_id"], session["source_key"]
    if not calls:
        known = session_id if _is_alone(session_id, key, session["instance_id"]) else key
        warning = "no gateway has seen a call of this session: what goes past them cannot be stopped there"
        return NamedSession(id=known, session_key=key, warning=warning)
    if "client" not in session["witnesses"]:
        # Where no agent told of a trace, each call has one of its own, made up by the gateway.
        calls = [{**one, "trace_id": None} for one in calls]
    told = [one for one in calls if _is_told(session_id, key, one)]
    if told:
        return _named(session, calls, told)
    others = {one["session_key"] for one in calls}
    if len(others) == 1 and (other := next(iter(others))) is not None:
        return NamedSession(id=other, session_key=key)
    message = f"gateways cannot tell the calls of session {session_id}: its agent names no session to them. "
    raise ConfigError(message + _instead(session))


def _named(session: Mapping[str, Any], calls: list[dict[str, Any]], told: list[dict[str, Any]]) -> NamedSession:
    """A session of whose `calls` gateways know those in `told`."""
    session_id, key = session["session_id"], session["source_key"]
    left = sum(one["calls"] for one in calls) - sum(one["calls"] for one in told)
    by_id = any(_is_alone(session_id, one["session_key"] or one["trace_id"], one["instance_id"]) for one in told)
    return NamedSession(
        id=session_id if by_id else key,
        session_key=key,
        warning=f"{left} calls of it named no session, or another: {_instead(session)}" if left else None,
    )


def _is_told(session_id: str, key: str, call: Mapping[str, Any]) -> bool:
    """Whether a gateway knows that a call is of the session: by its key, its trace, or the id that follows."""
    named = call["session_key"] or call["trace_id"]
    return (named is not None and named == key) or _is_alone(session_id, named, call["instance_id"])


def _is_alone(session_id: str, named: str | None, instance_id: str | None) -> bool:
    """Whether gateways find this session id by themselves, so that no other session of the same name is meant."""
    if named is None:
        return False
    ids = {trace_key(TENANT, named).session_id}
    if instance_id is not None:
        ids.add(session_key(TENANT, scope_of(instance_id), named).session_id)
    return session_id in ids


def _instead(session: Mapping[str, Any]) -> str:
    return f"headgate stop instance {session['instance_id'] or 'ID'} ends all that its agent does"
