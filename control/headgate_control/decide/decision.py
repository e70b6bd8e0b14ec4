"""What was decided, in AuthZEN's words and in the words of the log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from headgate_control.request import Request

NAME_CHARS_MAX = 512
RESOURCE_CHARS_MAX = 4_096
WARNING_HEADER = "x-headgate-warning"
WARNING_CHARS_MAX = 1_024
Effect = Literal["allow", "deny", "modify", "require_approval"]
Code = Literal["stopped", "paused", "identity", "manifest", "budget", "rate", "policy", "approval", "stale", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether, why, and by what. `code` says which step denied it, None where none did.

    `policy_ids` are the policies that determined it; `tiers` the approvals that would lift a `require_approval`;
    `warnings` are the soft budgets that what is allowed has passed.
    """

    effect: Effect
    reason: str
    code: Code | None = None
    policy_ids: Sequence[str] = ()
    policy_digest: str | None = None
    manifest_digest: str | None = None
    stop_id: str | None = None
    stop_epoch: int = 0
    tiers: Sequence[str] = ()
    warnings: Sequence[str] = ()

    @property
    def allowed(self) -> bool:
        """AuthZEN's `decision`."""
        return self.effect in {"allow", "modify"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A decision with what only the one who made it knows; one line of the log."""

    decision_id: str
    time_unix_nano: int
    request: Request
    decision: Decision
    enforcement_point: str
    latency_ns: int
    reservation_id: str | None = None

    def row(self) -> dict[str, object]:
        """The columns of the view `decisions`. Arguments and contents are in none of them."""
        request, decision = self.request, self.decision
        return {
            "decision_id": self.decision_id,
            "time_unix_nano": self.time_unix_nano,
            "instance_id": request.subject.id,
            **{name: _short(request.context.get(name)) for name in ("session", "trace_id", "span_id", "tool_use_id")},
            "action": request.action,
            "resource_type": request.resource.type,
            "resource_id": _named(request),
            "decision": decision.allowed,
            "effect": decision.effect,
            "code": decision.code,
            "reason": decision.reason,
            "warnings": list(decision.warnings),
            "policy_ids": list(decision.policy_ids),
            "policy_digest": decision.policy_digest,
            "manifest_digest": decision.manifest_digest,
            "stop_id": decision.stop_id,
            "stop_epoch": decision.stop_epoch,
            "reservation_id": self.reservation_id,
            "enforcement_point": self.enforcement_point,
            "latency_ns": self.latency_ns,
        }


def _short(value: object) -> str | None:
    """A name that somebody else gave, if it is one."""
    return value if isinstance(value, str) and len(value) <= NAME_CHARS_MAX and value.isprintable() else None


def _named(request: Request) -> str:
    """The resource as the log has it: of a command its first word and a digest, for the rest may hold secrets."""
    found = request.named
    if request.resource.type == "command":
        word = found.split(maxsplit=1)[0][:NAME_CHARS_MAX] if found.strip() else ""
        return f"{word} sha256:{sha256(found.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    return found[:RESOURCE_CHARS_MAX]


def warning_headers(decision: Decision) -> Mapping[str, str]:
    """The warnings of a decision as a header of an answer; none where there is nothing to warn of."""
    if not decision.warnings:
        return {}
    text = "; ".join(decision.warnings)[:WARNING_CHARS_MAX]
    plain = "".join(ch if ch.isprintable() else " " for ch in text)
    return {WARNING_HEADER: plain.encode("ascii", "backslashreplace").decode()}


def authzen(logged: Logged) -> Mapping[str, object]:
    """The answer of AuthZEN's evaluation endpoint."""
    decision = logged.decision
    context: dict[str, object] = {
        "evaluation_id": logged.decision_id,
        "effect": decision.effect,
        "reason": decision.reason,
        "policies": list(decision.policy_ids),
        "snapshot": {"policy_digest": decision.policy_digest, "stop_epoch": decision.stop_epoch},
    }
    if decision.code is not None:
        context["code"] = decision.code
    if decision.effect == "require_approval":
        context["access_request"] = {"tiers": list(decision.tiers)}
    if decision.warnings:
        context["warnings"] = list(decision.warnings)
    if logged.reservation_id is not None:
        context["reservation_id"] = logged.reservation_id
    return {"decision": decision.allowed, "context": context}
