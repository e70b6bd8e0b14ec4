"""What the directory knows decides live calls, from the moment that it is imported."""

from typing import Any

import pytest

from headgate_control.identity.directory import DirectoryFile, import_directory
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_processors.documents import parse_document

MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, repo: acme/calc}
spec:
  models: [{provider: openai, model: "gpt-5*"}]
  risk_tier: high
"""
POLICIES = """
@id("all") permit(principal, action, resource);
@id("production") @reason("nothing above low risk calls models for production")
forbid(principal, action == Headgate::Action::"model.call", resource)
when { principal has environment && principal.environment == "production" }
unless { principal has risk_tier && principal.risk_tier == "low" };
@id("restricted") @reason("restricted code goes to no provider")
forbid(principal, action == Headgate::Action::"model.call", resource in Headgate::Provider::"openai")
when { principal has repo.sensitivity && principal.repo.sensitivity == "restricted" };
"""


@pytest.fixture
def governed(site: Any) -> Any:
    """A site whose third agent works on a repository at high risk."""
    site.join(parse_manifest(MANIFEST, {}, source="manifest"), launched_by="carl")
    site.state.use_policy(PolicyEngine(bundle_of({"a.cedar": POLICIES})))
    return site


def say(site: Any, facts: str) -> None:
    """Import a directory that says this of the repository."""
    file = parse_document(f"repos: {{acme/calc: {facts}}}", DirectoryFile, source="registry.yaml")
    import_directory(site.store, file, author="ada")
    site.state.refresh()


def test_a_live_call_is_decided_by_what_the_directory_says_now(governed: Any) -> None:
    """Production, staging, restricted: the same call of the same agent, no restart between."""

    async def steps(agent: Any) -> list[Any]:
        found = []
        for facts in (None, "{environment: production}", "{environment: staging}", "{sensitivity: restricted}"):
            if facts is not None:
                say(governed, facts)
            async with agent.chat() as response:
                found.append(response.status if response.ok else (await response.json())["error"]["message"])
        return found

    assert [
        200,
        "nothing above low risk calls models for production",
        200,
        "restricted code goes to no provider",
    ] == governed.run(steps, key=2)


def test_agents_elsewhere_are_let_be(governed: Any) -> None:
    """The other agents name no repository."""
    say(governed, "{environment: production, sensitivity: restricted}")

    async def steps(agent: Any) -> int:
        async with agent.chat() as response:
            return int(response.status)

    assert 200 == governed.run(steps)
