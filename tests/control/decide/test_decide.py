"""The decision: the first step that objects ends it, and the same snapshot gives the same answer."""

from dataclasses import replace

import pytest

from headgate_control.budgets.amount import Limits
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.ledger import Excess
from headgate_control.decide.core import Moment, Snapshot, decide
from headgate_control.decide.decision import Decision, Logged, authzen
from headgate_control.identity.instance import Instance, new_id
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine, PolicyFacts
from headgate_control.request import Request, Resource, Subject
from headgate_control.stops.stop import Stop, parse_key
from headgate_control.stops.stop_set import StopSet

NOW = 1_000
GRANT = parse_manifest(
    """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer}
spec:
  models: [{provider: openai, model: "gpt-5-*"}]
  tools: [{tool: merge, mcp_server: github, approval: medium}, {tool: "*", mcp_server: github}]
""",
    {},
    source="manifest.yaml",
)
POLICIES = """
@id("base") @reason("agents may work") permit(principal, action, resource);
@id("no-delete") @reason("nothing is deleted") forbid(principal, action, resource == Headgate::Tool::"github/delete");
@id("pay") @approval("high") forbid(principal, action, resource == Headgate::Tool::"github/pay")
unless { context.approved_tiers.contains("high") };
@id("stubborn") @approval("low") forbid(principal, action, resource == Headgate::Tool::"github/stubborn");
"""
INSTANCE = Instance(
    instance_id="ai-1",
    manifest_digest=GRANT.digest,
    root="ai-0",
    parent="ai-0",
    state="running",
    created_unix_nano=0,
    expires_unix_nano=2_000,
    user="ada",
    team="payments",
    workflow="fix-tests",
)
SNAPSHOT = Snapshot(
    instances={"ai-1": INSTANCE, "ai-0": replace(INSTANCE, instance_id="ai-0", parent=None)},
    grants={GRANT.digest: GRANT},
    policy=PolicyEngine(bundle_of({"a.cedar": POLICIES})),
)
CALL = Request(
    subject=Subject(type="agent_instance", id="ai-1"),
    action="model.call",
    resource=Resource(type="model", id="openai/gpt-5-mini"),
)


def tool(name: str) -> Request:
    """A call of a tool of the GitHub server."""
    return replace(CALL, action="tools/call", resource=Resource(type="tool", id=name, properties={"server": "github"}))


def stopped(scope: str, target: str | None, *, mode: str = "stop") -> Snapshot:
    """The snapshot under a stop."""
    stop = Stop(
        stop_id="stop-1",
        key=parse_key(scope, target),
        mode=mode,  # type: ignore[arg-type]
        reason="it loops",
        author="ada",
        accepted_unix_nano=0,
        epoch=7,
    )
    return replace(SNAPSHOT, stops=StopSet().with_stop(stop))


def seen(decision: Decision) -> tuple[str, str | None, str]:
    """Effect, code and reason."""
    return decision.effect, decision.code, decision.reason


def test_what_nothing_objects_to_is_allowed() -> None:
    """With all that it was decided by."""
    decision = decide(CALL, SNAPSHOT, Moment(at_unix_nano=NOW))
    assert ("allow", None, "agents may work") == seen(decision)
    assert (("base",), GRANT.digest, SNAPSHOT.policy and SNAPSHOT.policy.bundle.digest, 0) == (
        decision.policy_ids,
        decision.manifest_digest,
        decision.policy_digest,
        decision.stop_epoch,
    )


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ("instance", "ai-1"),
        ("instance", "ai-0"),
        ("session", "s1"),
        ("workflow", "fix-tests"),
        ("team", "payments"),
        ("tool", "github/search"),
        ("identity", "ada"),
        ("identity", "hgk-1"),
        ("mcp-server", "github"),
        ("platform", None),
    ],
)
def test_a_stop_goes_before_everything(scope: str, target: str | None) -> None:
    """Its epoch and id are on the decision."""
    moment = Moment(at_unix_nano=NOW, session="s1", identities=("hgk-1",))
    decision = decide(tool("search"), stopped(scope, target), moment)
    assert ("deny", "stopped", "stop-1", 7) == (decision.effect, decision.code, decision.stop_id, decision.stop_epoch)
    assert "allow" == decide(tool("search"), SNAPSHOT, moment).effect


def test_a_stop_of_a_model_stops_that_model() -> None:
    """And a pause is told apart."""
    snapshot = stopped("model", "openai/gpt-5-mini", mode="pause")
    other = replace(CALL, resource=Resource(type="model", id="openai/gpt-5-max"))
    assert [("deny", "paused"), ("allow", None)] == [
        seen(decide(request, snapshot, Moment(at_unix_nano=NOW)))[:2] for request in (CALL, other)
    ]


@pytest.mark.parametrize(
    ("snapshot", "moment", "expected"),
    [
        (replace(SNAPSHOT, instances={}), Moment(at_unix_nano=NOW), ("identity", "no instance 'ai-1' is registered")),
        (SNAPSHOT, Moment(at_unix_nano=2_000), ("identity", "instance 'ai-1' has expired")),
        (
            replace(SNAPSHOT, instances={"ai-1": INSTANCE.with_state("revoked")}),
            Moment(at_unix_nano=NOW),
            ("identity", "instance 'ai-1' is revoked"),
        ),
        (
            replace(SNAPSHOT, grants={}),
            Moment(at_unix_nano=NOW),
            ("manifest", f"the manifest {GRANT.digest} is not known here"),
        ),
        (
            replace(SNAPSHOT, policy=None),
            Moment(at_unix_nano=NOW),
            ("policy", "there is no policy: an empty set denies all"),
        ),
        (
            replace(SNAPSHOT, policy=PolicyEngine(bundle_of({}))),
            Moment(at_unix_nano=NOW),
            ("policy", "no policy permits it"),
        ),
        (
            SNAPSHOT,
            Moment(at_unix_nano=NOW, is_stale=True),
            (
                "stale",
                "this enforcement point has not heard of stops for too long, so it lets nothing with effects pass",
            ),
        ),
    ],
)
def test_what_is_not_known_is_denied(snapshot: Snapshot, moment: Moment, expected: tuple[str, str]) -> None:
    """Each step says what it lacks."""
    assert ("deny", *expected) == seen(decide(CALL, snapshot, moment))


def test_a_budget_that_is_known_to_be_passed_denies() -> None:
    """In the words of the budget."""
    budget = Budget(budget_id="b", place=("team", "payments"), window="day", limits=Limits(calls=1))
    excess = Excess(budget=budget, unit="calls", used=1, wanted=1, limit=1)
    assert (
        "deny",
        "budget",
        "hard budget of team payments (day): 1 calls wanted, 0 calls left of 1 calls",
    ) == seen(decide(CALL, SNAPSHOT, Moment(at_unix_nano=NOW, excess=excess)))


@pytest.mark.parametrize(
    ("name", "approved", "expected"),
    [
        ("search", [], ("allow", None, ())),
        ("delete", [], ("deny", "policy", ())),
        ("delete", ["high"], ("deny", "policy", ())),
        ("merge", [], ("require_approval", "approval", ("medium",))),
        ("merge", ["low"], ("require_approval", "approval", ("medium",))),
        ("merge", ["medium"], ("allow", None, ())),
        ("merge", ["high"], ("allow", None, ())),
        ("pay", [], ("require_approval", "approval", ("high",))),
        ("pay", ["medium"], ("require_approval", "approval", ("high",))),
        ("pay", ["high"], ("allow", None, ())),
        ("stubborn", [], ("require_approval", "approval", ("low",))),
        ("stubborn", ["low"], ("deny", "policy", ())),
    ],
)
def test_an_approval_lifts_what_asks_for_it(name: str, approved: list[str], expected: tuple[object, ...]) -> None:
    """A higher tier stands for a lower one; no approval lifts a forbid that stands all the same."""
    moment = Moment(at_unix_nano=NOW, policy=PolicyFacts(approved_tiers=approved))
    decision = decide(tool(name), SNAPSHOT, moment)
    assert expected == (decision.effect, decision.code, tuple(decision.tiers))


def test_what_a_caller_says_of_its_subject_counts_for_nothing() -> None:
    """Its record is what policies see."""
    claimed = replace(CALL, subject=Subject(type="agent_instance", id="ai-1", properties={"team": "root"}))
    policy = '@id("p") permit(principal in Headgate::Team::"root", action, resource);'
    snapshot = replace(SNAPSHOT, policy=PolicyEngine(bundle_of({"a.cedar": policy})))
    assert "deny" == decide(claimed, snapshot, Moment(at_unix_nano=NOW)).effect


def test_a_line_that_leads_back_to_itself_ends() -> None:
    """A record that is wrong hangs nobody."""
    loop = {"a": replace(INSTANCE, instance_id="a", parent="b"), "b": replace(INSTANCE, instance_id="b", parent="a")}
    assert ("a", "b") == Snapshot(instances=loop).lineage("a")


def test_a_decision_is_a_row_and_an_answer() -> None:
    """No argument of a call is in either."""
    request = replace(tool("merge"), context={"input": {"body": "secret"}, "session": "s1", "trace_id": "t"})
    logged = Logged(
        decision_id="d-1",
        time_unix_nano=5,
        request=request,
        decision=decide(request, SNAPSHOT, Moment(at_unix_nano=NOW)),
        enforcement_point="model-gateway",
        latency_ns=9,
    )
    row, answer = logged.row(), authzen(logged)
    assert ("s1", "t", "github/merge", False, "require_approval") == (
        row["session"],
        row["trace_id"],
        row["resource_id"],
        row["decision"],
        row["effect"],
    )
    assert (False, {"tiers": ["medium"]}) == (answer["decision"], answer["context"]["access_request"])  # type: ignore[index]
    assert "secret" not in f"{row}{answer}"


def test_an_instance_is_written_and_read_again() -> None:
    """A field of a newer version is left alone."""
    assert INSTANCE == Instance.read({**INSTANCE.written(), "newer": 1})


def test_ids_sort_by_the_time_they_were_made() -> None:
    """And are never the same."""
    ids = [new_id("ai", at_ms=moment) for moment in (1, 1, 2, 1_794_000_000_000)]
    assert (ids[2:], 4, 29) == (sorted(ids)[2:], len(set(ids)), len(ids[0]))
