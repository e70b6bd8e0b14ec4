"""What a decision costs by a thousand policies: alone, with what it reserves and logs, and over HTTP."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from callers import Caller, request
from cedarpy import Entities, PolicySet, Schema, is_authorized
from endpoints import endpoint
from figures import Figure, Section
from governed import MODEL, TEAM, governed_up
from times import spread

from headgate_control.audit.log import AuditLog
from headgate_control.budgets.amount import Amount, Limits
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.budgets.port import LocalBudgets
from headgate_control.decide.core import Moment, Snapshot, decide
from headgate_control.decide.service import DecisionService, Estimate
from headgate_control.identity.instance import Instance
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import Bundle, bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.request import Request, Resource, Subject

POLICIES = 1_000
INSTANCES = 200
DECISIONS_MAX = 20_000
WHOLE = 100
LIFETIME_NS = 900_000_000_000
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer}
spec: {models: [{provider: openai, model: "*"}]}
"""
ESTIMATE = Estimate(amount=Amount(nano_usd=1_000_000, tokens=1_000, calls=1, duration_ms=1), lifetime_ns=LIFETIME_NS)


def policy_text(count: int) -> str:
    """So many policies: a few for all, the others each for a team and, every second one, a model."""
    dear = "context.estimate has micro_usd && context.estimate.micro_usd > 50000000"
    customers = 'context.content_classes.contains("customer") && principal has environment'
    of_all = [
        '@id("all") permit(principal, action == Headgate::Action::"model.call", resource);',
        f'@id("dear") @reason("too dear at once") forbid(principal, action, resource) when {{ {dear} }};',
        f'@id("customers") @reason("it stays here") forbid(principal, action, resource) when {{ {customers} }};',
    ]
    return "\n".join([*of_all, *(_of_a_team(number) for number in range(count - len(of_all)))])


def _of_a_team(number: int) -> str:
    team = TEAM if number == 0 else f"team-{number}"
    about = f'resource == Headgate::Model::"openai/gpt-5-{number}"' if number % 2 else "resource"
    return (
        f'@id("team-{number}") @reason("a looping session") forbid(principal in Headgate::Team::"{team}", '
        f'action == Headgate::Action::"model.call", {about}) when {{ context.session.retries > 50 }};'
    )


def measure_decisions(times: int, folder: Path) -> Section:
    """Each kind of decision so many times; over HTTP a tenth of that."""
    text = policy_text(POLICIES)
    bundle = bundle_of({"bench.cedar": text})
    snapshot = _snapshot(PolicyEngine(bundle))
    asked = [_request(number) for number in range(INSTANCES)]
    bare = _bare(bundle)
    bare_ns = _times(lambda _: bare(), times)
    decided_ns = _times(lambda number: _allowed(decide(asked[number % INSTANCES], snapshot, _moment()).allowed), times)
    whole = _bare(bundle, sliced=False)
    whole_ns = _times(lambda _: whole(), WHOLE)
    logged_ns = asyncio.run(_served(folder / "logged", snapshot, asked, times, estimate=None))
    reserved_ns = asyncio.run(_served(folder / "reserved", snapshot, asked, times, estimate=ESTIMATE))
    figures = [
        *spread("baseline: Cedar alone, the policies that can match", bare_ns, "µs", baseline=bare_ns),
        *spread("Cedar alone, all policies", whole_ns, "µs", baseline=bare_ns, shares=(0.5,), note="without a slice"),
        *spread("decide()", decided_ns, "µs", baseline=bare_ns, note=f"{INSTANCES} instances in turn"),
        *spread("with a logged allow", logged_ns, "µs", baseline=bare_ns),
        *spread("with a reservation and a logged allow", reserved_ns, "µs", baseline=bare_ns, note="settled after it"),
        *_over_http(folder, text, times // 10),
    ]
    return Section(
        title=f"Decisions by {POLICIES:,} policies",
        text=(
            f"In one process, {times:,} times each, one after the other; the baseline asks Cedar with parsed "
            "policies and entities. Over HTTP: AuthZEN's evaluation by the control process of an idle `headgate up`, "
            f"{times // 10:,} calls of one client that keeps its connection; the baseline is a handler of "
            "aiohttp that returns the same bytes."
        ),
        figures=figures,
    )


def _over_http(folder: Path, text: str, calls: int) -> list[Figure]:
    policies = folder / "policies"
    policies.mkdir()
    (policies / "bench.cedar").write_text(text, encoding="utf-8")
    with endpoint("provider") as provider, governed_up(folder / "up", provider=provider, policies=policies) as site:
        body = {
            "subject": {"type": "agent_instance", "id": site.instance_id},
            "action": {"name": "model.call"},
            "resource": {"type": "model", "id": f"openai/{MODEL}"},
        }
        asked = request(site.control, "/access/v1/evaluation", site.key, body)
        with Caller(site.control) as caller:
            answer = caller.call(asked)[1].decode()
            _allowed(json.loads(answer)["decision"])
            with endpoint("fixed", answer) as fixed, Caller(fixed) as other:
                # In turns, so that what else the machine does falls on both.
                pairs = [(other.call(asked)[0], caller.call(asked)[0]) for _ in range(calls)]
    bare_ns, times_ns = (list(one) for one in zip(*pairs, strict=True))
    return [
        *spread("baseline: the same bytes over HTTP", bare_ns, "ms", baseline=bare_ns),
        *spread("AuthZEN over HTTP", times_ns, "ms", baseline=bare_ns),
    ]


async def _served(
    folder: Path, snapshot: Snapshot, asked: Sequence[Request], times: int, *, estimate: Estimate | None
) -> list[int]:
    """Times of decisions that are logged, and reserved where there is an estimate; what is settled is not in them."""
    limits = Limits(nano_usd=10**18)
    budgets = [
        Budget(budget_id=scope, place=(scope, target), window="day", limits=limits, mode="hard")  # type: ignore[arg-type]
        for scope, target in (("platform", ""), ("team", TEAM))
    ]
    with (
        closing(BudgetOwner.open(folder / "budgets", budgets)) as owner,
        closing(AuditLog.open(folder / "decisions", "bench")) as log,
    ):
        service = DecisionService(lambda: snapshot, LocalBudgets(owner), log, enforcement_point="bench")
        times_ns = []
        for number in range(times):
            moment, began_ns = _moment(), time.perf_counter_ns()
            logged = await service(asked[number % INSTANCES], moment, estimate)
            times_ns.append(time.perf_counter_ns() - began_ns)
            _allowed(logged.decision.allowed)
            service.ended(logged)
            if logged.reservation_id is not None:
                owner.settle(logged.reservation_id, ESTIMATE.amount)
        return times_ns


def _times(work: Callable[[int], object], times: int) -> list[int]:
    """Nanoseconds of each of so many, after some that do not count."""
    for number in range(min(times, INSTANCES)):
        work(number)
    found = []
    for number in range(times):
        began_ns = time.perf_counter_ns()
        work(number)
        found.append(time.perf_counter_ns() - began_ns)
    return found


def _bare(bundle: Bundle, *, sliced: bool = True) -> Callable[[], object]:
    """One evaluation of Cedar and nothing around it, by the three policies for all and the team's own, or by all."""
    names = [name for name in bundle.written if not sliced or not name.startswith("team-") or name == "team-0"]
    body = {"staticPolicies": {name: bundle.written[name] for name in names}, "templates": {}, "templateLinks": []}
    policies = PolicySet.from_json_str(json.dumps(body))
    schema = Schema.from_str(bundle.schema)
    principal, team = _entity("AgentInstance", "ai-0"), _entity("Team", TEAM)
    model, provider = _entity("Model", f"openai/{MODEL}", name=MODEL), _entity("Provider", "openai")
    principal["parents"], model["parents"] = [team["uid"]], [provider["uid"]]
    entities = Entities.from_json_str(json.dumps([principal, team, model, provider]), schema)
    counts = dict.fromkeys(("model_calls", "tool_calls", "errors", "retries", "micro_usd"), 0)
    asked = {
        "principal": principal["uid"],
        "action": {"type": "Headgate::Action", "id": "model.call"},
        "resource": model["uid"],
        "context": {
            "session": {**counts, "untrusted": False},
            "budget": {},
            "estimate": {},
            "content_classes": [],
            "approved_tiers": [],
            "input": {},
        },
    }
    _allowed(is_authorized(asked, policies, entities, schema).allowed)
    return lambda: is_authorized(asked, policies, entities, schema)


def _entity(kind: str, uid: str, **attributes: str) -> dict[str, object]:
    return {"uid": {"type": f"Headgate::{kind}", "id": uid}, "attrs": attributes, "parents": []}


def _snapshot(policy: PolicyEngine) -> Snapshot:
    grant = parse_manifest(MANIFEST, {}, source="bench")
    names = [f"ai-{number}" for number in range(INSTANCES)]
    instances = {
        name: Instance(
            instance_id=name,
            manifest_digest=grant.digest,
            root=name,
            state="running",
            created_unix_nano=0,
            team=TEAM,
            workflow="fix-tests",
            user="ada",
        )
        for name in names
    }
    return Snapshot(instances=instances, grants={grant.digest: grant}, policy=policy)


def _request(number: int) -> Request:
    return Request(
        subject=Subject(type="agent_instance", id=f"ai-{number}"),
        action="model.call",
        resource=Resource(type="model", id=f"openai/{MODEL}"),
        context={"session": f"session-{number}"},
    )


def _moment() -> Moment:
    return Moment(at_unix_nano=time.time_ns(), session="session", identities=("gk-1",))


def _allowed(allowed: bool) -> None:
    assert allowed, "what is measured must be allowed"
