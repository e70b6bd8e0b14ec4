"""Policies: what they permit and forbid, that a slice decides as the whole set does, and that a mistake is named."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cedarpy import PolicySet, Schema, is_authorized
from hypothesis import given
from hypothesis import strategies as st

from headgate_control.identity.directory import Known
from headgate_control.policy.bundle import bundle_of, load_bundle
from headgate_control.policy.engine import PolicyEngine, PolicyFacts, SessionFacts, _context
from headgate_control.request import ActionName, Request, Resource, Subject
from headgate_processors.errors import ConfigError

ALLOW_ALL = '@id("all") permit(principal, action, resource);'


def ask(
    action: ActionName = "tools/call",
    resource: str = "create_issue",
    *,
    server: str | None = "github",
    sensitivity: str | None = None,
    **arguments: object,
) -> Request:
    """A request of an instance of the payments team."""
    properties = {"server": server, "sensitivity": sensitivity}
    return Request(
        subject=Subject(
            type="agent_instance",
            id="ai-1",
            properties={
                "workflow": "fix-tests",
                "team": "payments",
                "user": "ada",
                "risk_tier": "low",
                "lineage": ["ai-1", "ai-0"],
            },
        ),
        action=action,
        resource=Resource(
            type="any", id=resource, properties={name: one for name, one in properties.items() if one is not None}
        ),
        context={"input": arguments},
    )


def said(
    policies: str, request: Request, facts: PolicyFacts | None = None, **declared: Any
) -> tuple[bool, list[str], list[str]]:
    """Whether it is allowed, by which policies, and what approvals would lift a deny."""
    outcome = PolicyEngine(bundle_of({"a.cedar": policies}, declared))(request, facts or PolicyFacts())
    return outcome.allowed, [policy.policy_id for policy in outcome.policies], list(outcome.tiers)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('principal has repo && principal.repo == "acme/calc"', "are not compatible"),
        ('principal.repo.sensitivity == "x"', "unable to guarantee safety of access"),
    ],
)
def test_a_fact_that_may_be_unknown_is_asked_for_and_a_name_is_no_entity(condition: str, expected: str) -> None:
    """The kinds of the directory are types of the schema."""
    with pytest.raises(ConfigError, match=expected):
        bundle_of({"a.cedar": f'@id("a") permit(principal, action, resource) when {{ {condition} }};'})


def test_who_is_around_an_instance_is_no_group_of_it() -> None:
    """Policies of the team that owns its repository are not its own, and are not looked at."""
    bundle = bundle_of(
        {
            "a.cedar": ALLOW_ALL
            + '@id("own") forbid(principal in Headgate::Team::"payments", action, resource) when { false };'
            + '@id("other") forbid(principal in Headgate::Team::"search", action, resource);'
        }
    )
    around = (Known("repo", "acme/calc", (("team", "search"),)), Known("team", "search"))
    asked = ask()
    asked = replace(
        asked,
        subject=replace(asked.subject, properties={**asked.subject.properties, "around": around, "repo": "acme/calc"}),
    )
    engine = PolicyEngine(bundle)
    assert (True, ["all", "own"]) == (engine(asked).allowed, [one.policy_id for one in engine.looked_at(asked)])


def test_nobody_puts_facts_beside_a_subject_but_the_snapshot() -> None:
    """What a caller calls `around` is no fact."""
    text = '@id("a") permit(principal, action, resource) when { principal has repo };'
    asked = ask()
    lied = replace(asked, subject=replace(asked.subject, properties={"repo": "x", "around": [["repo", "x", []]]}))
    assert (False, [], []) == said(text, lied)


def test_nothing_permits_by_itself() -> None:
    """An empty bundle denies all."""
    assert (False, [], []) == said("", ask())


@pytest.mark.parametrize(
    "scope",
    [
        'principal in Headgate::Team::"payments", action, resource',
        'principal in Headgate::Workflow::"fix-tests", action == Headgate::Action::"tools/call", resource',
        'principal == Headgate::AgentInstance::"ai-1", action, resource in Headgate::McpServer::"github"',
        'principal in Headgate::AgentInstance::"ai-0", action, resource == Headgate::Tool::"github/create_issue"',
        'principal is Headgate::AgentInstance in Headgate::User::"ada", action, resource is Headgate::Tool',
        'principal, action in [Headgate::Action::"tools/call", Headgate::Action::"model.call"], resource',
    ],
)
def test_a_policy_speaks_of_groups_and_of_what_belongs_to_them(scope: str) -> None:
    """In every way that Cedar has to say so."""
    assert (True, ["p"], []) == said(f'@id("p") permit({scope});', ask())


def test_a_forbid_goes_before_any_permit() -> None:
    """It is the one that is named."""
    forbid = '@id("no") @reason("not today") forbid(principal, action, resource) when { principal.risk_tier == "low" };'
    guarded = forbid.replace("principal.risk_tier ==", "principal has risk_tier && principal.risk_tier ==")
    assert (False, ["no"], []) == said(ALLOW_ALL + guarded, ask())


def test_a_forbid_that_an_approval_lifts_says_which() -> None:
    """Unless another forbid stands that none would lift."""
    big = (
        '@id("big") @approval("high") forbid(principal, action, resource) when { context.input has amount &&'
        ' context.input.amount > 100 } unless { context.approved_tiers.contains("high") };'
    )
    never = (
        '@id("never") forbid(principal, action, resource) when { context.input has amount &&'
        " context.input.amount > 9000 };"
    )
    policies, declared = ALLOW_ALL + big + never, {"amount": "Long"}
    assert [
        (True, ["all"], []),
        (False, ["big"], ["high"]),
        (True, ["all"], []),
        (False, ["big", "never"], []),
    ] == [
        said(policies, ask(amount=5), **declared),
        said(policies, ask(amount=500), **declared),
        said(policies, ask(amount=500), PolicyFacts(approved_tiers=["high"]), **declared),
        said(policies, ask(amount=9001), **declared),
    ]


@pytest.mark.parametrize(
    ("condition", "facts", "expected"),
    [
        ("context.session.tool_calls < 3", PolicyFacts(session=SessionFacts(tool_calls=2)), True),
        ("context.session.tool_calls < 3", PolicyFacts(session=SessionFacts(tool_calls=3)), False),
        ("context.budget has micro_usd_left && context.budget.micro_usd_left > 10", PolicyFacts(), False),
        (
            "context.budget has micro_usd_left && context.budget.micro_usd_left > 10",
            PolicyFacts(micro_usd_left=11),
            True,
        ),
        ('!context.content_classes.contains("customer")', PolicyFacts(content_classes=["email"]), True),
        ('!context.content_classes.contains("customer")', PolicyFacts(content_classes=["customer"]), False),
        ("resource has sensitivity", PolicyFacts(), False),
    ],
)
def test_policies_use_what_is_known_of_session_budget_and_content(
    condition: str, facts: PolicyFacts, expected: bool
) -> None:
    """What is not known is not there, and no number stands for it."""
    policy = f'@id("p") permit(principal, action == Headgate::Action::"tools/call", resource) when {{ {condition} }};'
    assert expected == said(policy, ask(), facts)[0]


def test_an_argument_of_another_type_than_declared_is_not_seen() -> None:
    """No text passes for a number, and no number is too large for Cedar."""
    policy = '@id("p") permit(principal, action, resource) when { context.input has amount };'
    seen = [said(policy, ask(amount=value), amount="Long")[0] for value in (1, "1", True, 1.0, 2**63)]
    assert [True, False, False, False, False] == seen


@pytest.mark.parametrize("action", ["model.call", "net.connect", "proc.exec", "memory.write", "instance.launch"])
def test_every_action_has_a_resource_in_the_schema(action: ActionName) -> None:
    """And can be permitted."""
    assert (True, ["all"], []) == said(ALLOW_ALL, ask(action, "openai/gpt-5"))


def test_what_cannot_be_evaluated_is_denied() -> None:
    """With what is wrong, for whoever looks."""
    outcome = PolicyEngine(bundle_of({"a.cedar": ALLOW_ALL}))(ask(resource="\ud800"))
    assert (False, True) == (outcome.allowed, outcome.errors[0].startswith("the request cannot be evaluated"))


def test_an_argument_that_is_no_text_is_a_deny() -> None:
    """A policy could not look at it, so it may not pass it."""
    engine = PolicyEngine(bundle_of({"a.cedar": ALLOW_ALL}, {"title": "String"}))
    outcome = engine(ask(title="\ud800"))
    assert (False, 1) == (outcome.allowed, len(outcome.errors))


def test_an_error_in_a_policy_is_a_deny() -> None:
    """An overflow is one that no schema foresees."""
    policy = '@id("p") forbid(principal, action, resource) when { context.session.micro_usd * 4 > 9 };'
    facts = PolicyFacts(session=SessionFacts(micro_usd=2**62))
    engine = PolicyEngine(bundle_of({"a.cedar": ALLOW_ALL + policy}))
    outcome = engine(ask(), facts)
    assert (False, 1) == (outcome.allowed, len(outcome.errors))


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ("permit(principal, action, resource);", "a.cedar: a policy without @id"),
        ('@id("a") permit(principal, action, resource)', "a.cedar: "),
        (ALLOW_ALL + ALLOW_ALL, r"@id\('all'\) stands twice"),
        ('@id("a") @approval("x") permit(principal, action, resource);', "@approval stands on a forbid"),
        ('@id("a") permit(principal == ?principal, action, resource);', "templates"),
        ('@id("a") permit(principal, action, resource) when { context.nope };', "nope"),
        ('@id("a") permit(principal, action, resource) when { resource.sensitivity == "x" };', "sensitivity"),
        ('@id("a") permit(principal, action == Headgate::Action::"tool.call", resource);', "tool.call"),
    ],
)
def test_a_bundle_that_is_wrong_anywhere_is_refused_whole(policies: str, expected: str) -> None:
    """It names the file and the mistake; what may be unknown must be asked for with `has`."""
    with pytest.raises(ConfigError, match=expected):
        bundle_of({"a.cedar": policies})


def test_a_bundle_comes_from_a_folder(tmp_path: Path) -> None:
    """Its digest is of what it says, not of how it is spread over files."""
    whole = tmp_path / "whole"
    parts = tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        (folder / "arguments.yaml").write_text("amount: Long\n")
    other = '@id("b") forbid(principal, action, resource) when { context.input has amount };'
    (whole / "a.cedar").write_text(ALLOW_ALL + "\n" + other)
    (parts / "a.cedar").write_text(other)
    (parts / "b.cedar").write_text(ALLOW_ALL)
    assert load_bundle(whole).digest == load_bundle(parts).digest != bundle_of({"a": ALLOW_ALL}).digest
    with pytest.raises(ConfigError, match="is no folder"):
        load_bundle(tmp_path / "nowhere")


def test_many_threads_share_an_engine() -> None:
    """Whose caches are far too small for what they ask, so that each takes from the others what they had kept."""
    text = "".join(
        f'@id("p{tool}") permit(principal, action, resource == Headgate::Tool::"github/{tool}");'
        for tool in range(0, 40, 2)
    )
    engine = PolicyEngine(bundle_of({"a.cedar": text}), entities_max=3, slices_max=3)

    def asked(start: int) -> list[tuple[int, bool]]:
        order = [(start * 7 + step * 3) % 40 for step in range(200)]
        return [(tool, engine(ask(resource=str(tool))).allowed) for tool in order]

    with ThreadPoolExecutor(8) as threads:
        told = [one for listed in threads.map(asked, range(8)) for one in listed]
    assert 1600 == len(told)
    assert [] == [(tool, allowed) for tool, allowed in told if allowed != (tool % 2 == 0)]


def test_the_policies_that_are_looked_at_can_be_named() -> None:
    """Those of another team are not among them."""
    text = ALLOW_ALL + "".join(
        f'@id("{team}") forbid(principal in Headgate::Team::"{team}", action, resource);' for team in ("payments", "x")
    )
    engine = PolicyEngine(bundle_of({"a.cedar": text}))
    assert ["all", "payments"] == [policy.policy_id for policy in engine.looked_at(ask())]


NAMES = st.sampled_from(["a", "b"])
PRINCIPALS = st.one_of(
    st.just("principal"),
    st.just("principal is Headgate::AgentInstance"),
    st.builds(
        'principal in Headgate::{}::"{}"'.format,
        st.sampled_from(["Team", "Workflow", "User", "Profile", "AgentInstance"]),
        NAMES,
    ),
    st.builds('principal == Headgate::AgentInstance::"{}"'.format, NAMES),
    st.builds('principal is Headgate::AgentInstance in Headgate::Workflow::"{}"'.format, NAMES),
)
OF_TOOLS = (
    st.sampled_from(
        [
            'action == Headgate::Action::"tools/call"',
            'action in [Headgate::Action::"tools/call", Headgate::Action::"model.call"]',
        ]
    ),
    st.one_of(
        st.builds('resource in Headgate::McpServer::"{}"'.format, NAMES),
        st.builds('resource == Headgate::Tool::"a/{}"'.format, NAMES),
        st.builds('resource is Headgate::Tool in Headgate::McpServer::"{}"'.format, NAMES),
        st.just("resource is Headgate::Tool"),
    ),
)
OF_MODELS = (
    st.just('action == Headgate::Action::"model.call"'),
    st.one_of(
        st.builds('resource in Headgate::Provider::"{}"'.format, NAMES),
        st.builds('resource == Headgate::Model::"a/{}"'.format, NAMES),
        st.just("resource is Headgate::Model"),
    ),
)
OF_ALL = (
    st.sampled_from(["action", 'action == Headgate::Action::"file.read"', 'action == Headgate::Action::"tools/call"']),
    st.just("resource"),
)
SCOPES = st.one_of(
    [st.tuples(PRINCIPALS, action, resource).map(", ".join) for action, resource in (OF_TOOLS, OF_MODELS, OF_ALL)]
)
CONDITIONS = st.sampled_from(
    [
        "",
        "when { context.session.errors > 2 }",
        'unless { context.approved_tiers.contains("high") }',
        'when { context.content_classes.contains("email") && principal has risk_tier }',
    ]
)
FACTS = st.builds(
    PolicyFacts,
    session=st.builds(SessionFacts, errors=st.sampled_from([0, 5])),
    approved_tiers=st.sampled_from([(), ("high",)]),
    content_classes=st.sampled_from([(), ("email",)]),
)
WHO = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("team", "workflow", "user", "policy_profile"), NAMES),
        "risk_tier": st.just("low"),
        "lineage": st.lists(NAMES, max_size=2),
    },
)
WHAT = st.one_of(
    st.builds(
        lambda server, tool: ("tools/call", Resource(type="tool", id=tool, properties={"server": server})), NAMES, NAMES
    ),
    st.builds(lambda tool: ("tools/call", Resource(type="tool", id=tool)), NAMES),
    st.builds(lambda provider, model: ("model.call", Resource(type="model", id=f"{provider}/{model}")), NAMES, NAMES),
    st.builds(lambda name: ("file.read", Resource(type="file", id=name)), NAMES),
)


@given(
    policies=st.lists(st.tuples(st.sampled_from(["permit", "forbid"]), SCOPES, CONDITIONS), max_size=16),
    instance=NAMES,
    who=WHO,
    what=WHAT,
    facts=st.tuples(FACTS, FACTS),
)
def test_a_slice_decides_as_the_whole_set_does(
    policies: list[tuple[str, str, str]],
    instance: str,
    who: dict[str, Any],
    what: tuple[ActionName, Resource],
    facts: tuple[PolicyFacts, PolicyFacts],
) -> None:
    """And names the same policies, whatever they speak of, whoever asks for what, and whatever was asked before."""
    text = "\n".join(
        f'@id("p{place}") {effect}({scope}) {condition};' for place, (effect, scope, condition) in enumerate(policies)
    )
    request = Request(
        subject=Subject(type="agent_instance", id=instance, properties=who), action=what[0], resource=what[1]
    )
    bundle = bundle_of({"a.cedar": text})
    engine = PolicyEngine(bundle)
    engine(request, facts[0])
    outcome = engine(request, facts[1])
    graph = engine._graph(request)
    asked = {
        "principal": dict(zip(("type", "id"), graph.principals[0], strict=True)),
        "action": {"type": "Headgate::Action", "id": request.action},
        "resource": dict(zip(("type", "id"), graph.resources[0], strict=True)),
        "context": _context(request, facts[1], bundle),
    }
    whole = is_authorized(asked, PolicySet.from_str(text), graph.entities, Schema.from_str(bundle.schema))
    reasons = whole.diagnostics.id_annotations_by_reason.values()
    named = sorted(one for one in reasons if whole.allowed or not bundle.policies[one].permits)
    told = sorted(policy.policy_id for policy in outcome.policies)
    assert ([], whole.allowed, named) == (whole.diagnostics.errors, outcome.allowed, told)
