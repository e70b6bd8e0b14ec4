"""Identity: precedence, claims, what belongs to what, and stable ids for the unknown."""

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_processors.enrich._registry_file import Match, RegistryFile
from headgate_processors.enrich.identity import FileRegistry, Identity
from headgate_processors.errors import ConfigError
from headgate_processors.schema import WHO

REGISTRY = """
version: 1
tenant: acme
claims: {team: [cost.centre]}
users:
  alice: {team: payments}
  bob: {}
teams: {payments: {}, search: {}}
workflows:
  fix-tests: {team: search, repo: acme/calc, task_class: bugfix}
repos:
  acme/calc: {team: payments, environment: staging, urls: ["git@git.acme.example:legacy/calc.git"]}
resources:
  billing-db: {team: payments, environment: production}
instances:
  agt-root: {launched_by: alice, team: payments, environment: demo, risk_tier: low, subjects: ["spiffe://acme/ns/x/robot"]}
  agt-0001:
    parent: agt-root
    launched_by: alice
    user: alice
    team: payments
    workflow: fix-tests
    policy_profile: standard
    manifest_digest: sha256:aa
    runtime: bubblewrap
  agt-codex: {workflow: fix-tests}
  agt-db: {resource: billing-db}
match:
  - {service: "codex_*", instance: agt-codex}
  - {service: shared, agent: "review*", instance: agt-db}
  - {service: shared, resource_attributes: {region: "eu-*"}, team: search, environment: eu}
  - {claims: {team: growth, workflow: "night*"}, instance: agt-db}
"""


@pytest.fixture
def registry(tmp_path: Path) -> FileRegistry:
    """A registry with one of everything."""
    return _load(tmp_path, REGISTRY)


def _load(folder: Path, text: str) -> FileRegistry:
    path = folder / "registry.yaml"
    path.write_text(text)
    return FileRegistry.load(path)


def test_an_identity_has_exactly_the_who_columns() -> None:
    """The value and the schema name the same columns in any order."""
    assert {column.name for column in WHO} == {field.name for field in fields(Identity)}


def test_a_claimed_registered_instance_fills_every_column(registry: FileRegistry) -> None:
    """The record of the instance, its lineage and its workflow say who it is."""
    found = registry.resolve({"agent.instance.id": "agt-0001", "service.name": "x"}, agent_name="a")
    expected = Identity(
        tenant="acme",
        instance_id="agt-0001",
        identity_source="claimed",
        parent_instance_id="agt-root",
        root_instance_id="agt-root",
        launched_by="alice",
        user_id="alice",
        team="payments",
        workflow="fix-tests",
        repo="acme/calc",
        environment="staging",
        task_class="bugfix",
        policy_profile="standard",
        manifest_digest="sha256:aa",
        runtime="bubblewrap",
    )
    assert expected == found


@pytest.mark.parametrize("subject", ["agt-root", "spiffe://headgate/instance/agt-root", "spiffe://acme/ns/x/robot"])
def test_an_authenticated_subject_wins_over_a_claim(registry: FileRegistry, subject: str) -> None:
    """What a credential proves is not changed by what a client says."""
    found = registry.resolve({"headgate.instance.id": "agt-0001"}, agent_name=None, subject=subject)
    assert ("agt-root", "verified") == (found.instance_id, found.identity_source)


def test_a_verified_subject_that_nobody_registered_keeps_its_own_name(registry: FileRegistry) -> None:
    """A proven name is an identity, even without a record."""
    found = registry.resolve({}, agent_name=None, subject="spiffe://acme/instance/agt-new")
    assert ("agt-new", "verified") == (found.instance_id, found.identity_source)


def test_the_own_prefix_wins_over_aliases(registry: FileRegistry) -> None:
    """Where both are sent, `headgate.*` counts."""
    resource = {"headgate.instance.id": "agt-codex", "agent.instance.id": "agt-0001", "headgate.team": "a", "team": "b"}
    found = registry.resolve(resource, agent_name=None)
    assert ("agt-codex", "a") == (found.instance_id, found.team)


@pytest.mark.parametrize(
    ("service", "agent", "instance"),
    [("codex_exec", None, "agt-codex"), ("codex_cli_rs", "x", "agt-codex"), ("shared", "reviewer", "agt-db")],
)
def test_rules_match_service_and_agent(registry: FileRegistry, service: str, agent: str | None, instance: str) -> None:
    """Without a registered claim, the first rule that fits names the instance."""
    found = registry.resolve({"service.name": service, "agent.instance.id": "agt-nobody"}, agent_name=agent)
    assert (instance, "matched") == (found.instance_id, found.identity_source)


def test_a_rule_without_an_instance_fills_columns_only(registry: FileRegistry) -> None:
    """Team and environment come from the rule; the instance stays unknown."""
    found = registry.resolve({"service.name": "shared", "region": "eu-west"}, agent_name=None)
    assert ("unknown", "search", "eu") == (found.identity_source, found.team, found.environment)


def test_rules_match_claims_under_any_of_their_names(registry: FileRegistry) -> None:
    """A rule on the claimed team and workflow need not know which attribute carried them."""
    resource = {"service.name": "z", "cost.centre": "growth", "headgate.workflow": "nightly"}
    found = registry.resolve(resource, agent_name=None)
    assert ("agt-db", "matched") == (found.instance_id, found.identity_source)
    del resource["headgate.workflow"]
    assert "unknown" == registry.resolve(dict(resource), agent_name=None).identity_source


def test_claims_fill_their_columns_even_for_the_unknown(registry: FileRegistry) -> None:
    """A claimed team, user, workflow, repository and task class stand, whoever the instance is."""
    resource = {
        "service.name": "new",
        "cost.centre": "growth",
        "user.id": "carol",
        "workflow": "triage",
        "headgate.repo": "acme/web",
        "headgate.task_class": "support",
        "deployment.environment": "prod",
        "headgate.work_item": "ACME-7",
    }
    found = registry.resolve(resource, agent_name=None)
    shown = (found.identity_source, found.team, found.user_id, found.workflow, found.repo, found.task_class)
    assert ("unknown", "growth", "carol", "triage", "acme/web", "support") == shown
    assert ("prod", "ACME-7") == (found.environment, found.work_item)


def test_the_record_wins_over_claims_but_for_the_task(registry: FileRegistry) -> None:
    """A claim cannot move spend to another team; the class of task may differ each time."""
    resource = {"agent.instance.id": "agt-0001", "team": "search", "user.id": "mallory", "headgate.task_class": "chore"}
    found = registry.resolve(resource, agent_name=None)
    assert ("payments", "alice", "chore") == (found.team, found.user_id, found.task_class)


@pytest.mark.parametrize(
    ("attributes", "repo"),
    [
        ({"vcs.repository.url.full": "https://github.com/acme/calc.git"}, "acme/calc"),
        ({"vcs.repository.url.full": "https://token@github.com/acme/calc/"}, "acme/calc"),
        ({"github.copilot.git.repository": "git@github.com:acme/calc.git"}, "acme/calc"),
        ({"vcs.repository.url.full": "ssh://git@git.acme.example/legacy/calc"}, "acme/calc"),
        ({"vcs.repository.name": "calc", "vcs.owner.name": "acme"}, "acme/calc"),
        ({"vcs.repository.name": "calc"}, "calc"),
        ({"repo": "acme/app", "vcs.repository.name": "calc"}, "acme/app"),
        ({}, None),
    ],
)
def test_repositories_have_one_name(registry: FileRegistry, attributes: dict[str, object], repo: str | None) -> None:
    """A URL, an SSH address and a short name are one repository; a registered address is its entry."""
    assert repo == registry.resolve({"service.name": "z", **attributes}, agent_name=None).repo


def test_the_team_follows_from_what_is_worked_on(registry: FileRegistry) -> None:
    """Without a team of its own an instance belongs to its workflow's, repository's, resource's or user's."""
    teams = [
        registry.resolve({"service.name": "z", **claims}, agent_name=None).team
        for claims in ({"workflow": "fix-tests"}, {"repo": "acme/calc"}, {"user.id": "alice"}, {"user.id": "bob"})
    ]
    assert ["search", "payments", "payments", None] == [*teams]
    assert "production" == registry.resolve({"agent.instance.id": "agt-db"}, agent_name=None).environment


def test_the_environment_of_the_registry_wins(registry: FileRegistry) -> None:
    """An agent cannot say that it runs elsewhere."""
    resource = {"agent.instance.id": "agt-root", "deployment.environment.name": "production"}
    assert "demo" == registry.resolve(resource, agent_name=None).environment


KEY = st.text(min_size=1, max_size=8)


@given(
    service=KEY,
    agent=st.none() | KEY,
    noise=st.dictionaries(
        st.sampled_from(["service.instance.id", "gen_ai.agent.id", "user.id", "process.pid", "trace.id", "team"]), KEY
    ),
)
def test_an_unknown_instance_is_stable(service: str, agent: str | None, noise: dict[str, object]) -> None:
    """The synthetic id depends on tenant, service, agent and claimed instance, and on nothing else."""
    first = FileRegistry.empty().resolve({"service.name": service}, agent_name=agent)
    second = FileRegistry.empty().resolve({"service.name": service, **noise}, agent_name=agent)
    other = FileRegistry.empty("other").resolve({"service.name": service}, agent_name=agent)
    claimed = FileRegistry.empty().resolve({"service.name": service, "agent.instance.id": "x"}, agent_name=agent)
    assert "unknown" == first.identity_source
    assert first.instance_id == second.instance_id == first.root_instance_id
    assert 3 == len({first.instance_id, other.instance_id, claimed.instance_id})


def test_the_cache_is_by_value_and_by_object(registry: FileRegistry) -> None:
    """An equal resource gives the same object back, and another one does not."""
    resource: dict[str, object] = {"service.name": "codex_exec"}
    first = registry.resolve(resource, agent_name=None)
    assert first is registry.resolve(resource, agent_name=None)
    assert first is registry.resolve(dict(resource), agent_name=None)
    assert first is not registry.resolve({"service.name": "codex_exec", "team": "x"}, agent_name=None)


def test_what_nobody_asks_of_a_resource_is_nothing_to_the_cache(registry: FileRegistry) -> None:
    """Every process has its own number, and all of them are one identity."""
    one, other = ({"service.name": "codex_exec", "process.pid": number} for number in (1, 2))
    assert registry.resolve(one, agent_name=None) is registry.resolve(other, agent_name=None)


ASKED = (
    *("service.name", "headgate.instance.id", "headgate.team", "user.id", "headgate.workflow", "headgate.task_class"),
    *("headgate.repo", "vcs.repository.url.full", "vcs.repository.name", "vcs.owner.name", "host.name"),
    *("headgate.work_item", "vcs.change.id", "deployment.environment.name", "deployment.environment"),
)


@given(st.lists(st.dictionaries(st.sampled_from(ASKED), st.sampled_from(["a", "b", 1, True])), max_size=4))
def test_the_cache_never_changes_who_it_is(resources: list[dict[str, object]]) -> None:
    """A registry that has seen others says of each resource what a new one says."""
    file = RegistryFile(match=(Match(resource_attributes={"host.name": "b"}, team="c"),))
    seasoned = FileRegistry(file)
    expected = [FileRegistry(file).resolve(resource, agent_name=None) for resource in resources]
    assert expected == [seasoned.resolve(resource, agent_name=None) for resource in resources]


@pytest.mark.parametrize("value", [["a"], {"a": 1}, True, 1.5, "", "  ", None])
def test_a_claim_that_is_no_name_is_ignored(registry: FileRegistry, value: object) -> None:
    """Lists, booleans and empty texts are no names."""
    assert registry.resolve({"service.name": "z", "team": value}, agent_name=None).team is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "instances:\n  a:\n    tema: x\n",
            "registry.yaml:3: instances.a.tema: unknown key 'tema'; did you mean 'team'?",
        ),
        ("instance: {}\n", "registry.yaml:1: instance: unknown key 'instance'; did you mean 'instances'?"),
        (
            "users:\n  a: {}\nmatch:\n- service: x\n  user: b\n",
            "registry.yaml:5: match[0].user: no such entry in `users`: 'b'",
        ),
        (
            "instances:\n  agt-1: {parent: agt-2}\n",
            "registry.yaml:2: instances.agt-1.parent: no such entry in `instances`",
        ),
        ("instances:\n  a: {parent: b}\n  b: {parent: a}\n", "the lineage runs in a circle"),
        ("instances:\n  a: {subjects: [s]}\n  b: {subjects: [s]}\n", "subject 's' is also one of instance 'a'"),
        (
            "match:\n- team: x\n",
            "registry.yaml:2: match[0]: needs `service`, `agent`, `claims` or `resource_attributes`",
        ),
        ("claims: {colour: [x]}\n", "registry.yaml:1: claims.colour"),
        ("users: {a: {}, a: {}}\n", "key 'a' stands twice"),
        ("users: [\n", "not valid YAML"),
        ("version: 2\n", "registry.yaml:1: version: Input should be 1"),
        ("- x\n", "registry.yaml:1: document: Input should be a valid dictionary"),
    ],
)
def test_a_wrong_registry_says_where(tmp_path: Path, text: str, message: str) -> None:
    """The error names file, line and key, and the nearest known name."""
    with pytest.raises(ConfigError) as refused:
        _load(tmp_path, text)
    assert message in str(refused.value)


def test_a_missing_registry_is_a_configuration_error(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.yaml"):
        FileRegistry.load(tmp_path / "nowhere.yaml")


def test_an_empty_registry_file_is_valid(tmp_path: Path) -> None:
    """Nobody is registered, and everybody has an identity."""
    found = _load(tmp_path, "").resolve({}, agent_name=None)
    assert ("default", "unknown") == (found.tenant, found.identity_source)
