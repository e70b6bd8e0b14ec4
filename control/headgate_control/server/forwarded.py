"""A question in the headers and the query of a GET, as proxies ask it that pass no body on.

What the query says, the proxy alone has written; headers of ours count from a caller that is trusted to set them. A
request that names no action is about where it goes: `net.connect` to the host that the proxy names.
"""

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from multidict import CIMultiDictProxy, MultiMapping

from headgate_control.request import Request
from headgate_control.server.doors import Caller
from headgate_control.server.search import ACTIONS_OF
from headgate_control.server.wire import TEXT_CHARS_MAX, WireError, parse_evaluation

NAMES: Mapping[str, str] = {
    "action": "x-headgate-action",
    "resource_type": "x-headgate-resource-type",
    "resource_id": "x-headgate-resource-id",
    "subject": "x-headgate-subject",
    "session": "x-headgate-session",
}
"""Parameters of the query, and the headers that stand for them."""
_TYPES: Mapping[str, str] = {action: kind for kind, actions in ACTIONS_OF.items() for action in actions}
_NO_HOST = frozenset("@,/?# ")
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def parse_forwarded(headers: "CIMultiDictProxy[str]", query: "MultiMapping[str]", caller: Caller) -> Request:
    """The question of a proxy for `caller`, who is an agent, or a gateway that names one.

    Raises:
        WireError: something is missing, stands twice, or is not what was expected.
    """
    unknown = sorted(query.keys() - NAMES.keys())
    if unknown:
        raise WireError(f"the query: {unknown[0][:100]!r} is none of {', '.join(NAMES)}")
    named = NAMES if caller.role != "agent" else {"session": NAMES["session"]}
    said = {name: _one(query, name) or _one(headers, named.get(name, "")) for name in NAMES}
    subject = said["subject"] or caller.instance_id
    if subject is None:
        raise WireError(f"who asks is missing: expected an instance in {NAMES['subject']}, or in the query as subject")
    asked = said["action"]
    target = _target(headers)
    if asked is None:
        action, kind, name = "net.connect", "host", _endpoint(headers, target)
    else:
        action, kind = asked, said["resource_type"] or _TYPES.get(asked, "")
        name = said["resource_id"] or ""
    sent = {"method": _one(headers, "x-forwarded-method") or _one(headers, "x-original-method"), "path": target.path}
    return parse_evaluation(
        {
            "subject": {"type": "agent_instance", "id": subject},
            "action": {"name": action},
            "resource": {"type": kind, "id": name},
            "context": {"session": said["session"], "input": {key: value for key, value in sent.items() if value}},
        }
    )


def _target(headers: "CIMultiDictProxy[str]") -> SplitResult:
    """Where the request goes that the proxy has before it; its host may stand elsewhere."""
    for name in ("x-original-url", "x-forwarded-uri", "x-original-uri"):
        found = _one(headers, name)
        if found is not None:
            try:
                return urlsplit(found)
            except ValueError as error:
                raise WireError(f"{name}: {error}") from error
    return urlsplit("")


def _endpoint(headers: "CIMultiDictProxy[str]", target: SplitResult) -> str:
    """`name:port` of where the request goes. Two headers that name two places are an agent's doing, or a mistake."""
    named = _one(headers, "x-forwarded-host")
    host = target.netloc or named
    if host is None:
        raise WireError("where it goes is missing: expected X-Forwarded-Host or X-Original-URL, or action in the query")
    if named is not None and host != named:
        raise WireError(f"where it goes stands twice: {named[:100]!r} and {host[:100]!r}")
    scheme = target.scheme or _one(headers, "x-forwarded-proto") or "http"
    told = _one(headers, "x-forwarded-port") if not target.netloc else None
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port or int(told or _PORTS.get(scheme.lower(), 0))
    except ValueError as error:
        raise WireError(f"where it goes cannot be read: {error}") from error
    if not parts.hostname or not 0 < port < 1 << 16 or not _NO_HOST.isdisjoint(host):
        raise WireError(f"where it goes cannot be read: expected a host and a port, not {host[:100]!r}")
    return f"{parts.hostname}:{port}"


def _one(values: "MultiMapping[str]", name: str) -> str | None:
    """The one value of a name, if it has any."""
    found = values.getall(name, [])
    if len(found) > 1:
        raise WireError(f"{name}: stands {len(found)} times; expected once")
    if found and len(found[0]) > TEXT_CHARS_MAX:
        raise WireError(f"{name}: longer than {TEXT_CHARS_MAX} characters")
    return found[0] if found and found[0] else None
