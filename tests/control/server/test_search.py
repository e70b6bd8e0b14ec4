"""AuthZEN's searches: only what is known is found, page by page, and an agent hears of nobody else."""

from typing import Any

import pytest

from headgate_control.decide.core import Moment, Snapshot
from headgate_control.identity.instance import Instance
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.server.search import TRIED_MAX, Search, metadata
from headgate_control.server.wire import WireError

MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer}
spec:
  models: [{provider: openai, model: gpt-5}, {provider: openai, model: "gpt-5-*"}]
  tools: [{tool: read_file}, {tool: delete}, {mcp_server: github, tool: search}, {mcp_server: github, tool: "*"}]
  network: [api.example.com:443]
  memory: {scope: session, write: false}
"""
GRANT = parse_manifest(MANIFEST, {}, source="manifest")
POLICIES = """
@id("all") permit(principal, action, resource);
@id("no") forbid(principal in Headgate::Team::"search", action, resource);
@id("delete") forbid(principal, action, resource == Headgate::Tool::"delete");
"""


def instance(name: str, team: str) -> Instance:
    """An instance under the manifest."""
    return Instance(
        instance_id=name, manifest_digest=GRANT.digest, root=name, state="running", created_unix_nano=0, team=team
    )


SNAPSHOT = Snapshot(
    instances={name: instance(name, team) for name, team in (("a", "x"), ("b", "search"), ("c", "x"), ("d", "x"))},
    grants={GRANT.digest: GRANT},
    policy=PolicyEngine(bundle_of({"a.cedar": POLICIES})),
)


def search(own: str | None = None) -> Search:
    """Searches of a gateway, or of an agent."""
    return Search(snapshot=SNAPSHOT, moment=lambda _: Moment(at_unix_nano=0), own=own)


def body(
    kind: str, *, action: str = "tools/call", subject: str | None = "a", named: str | None = None
) -> dict[str, Any]:
    """A search without what it searches."""
    found: dict[str, Any] = {"subject": {"type": "agent_instance"}, "action": {"name": action}}
    found["resource"] = {"type": kind}
    if subject is not None:
        found["subject"]["id"] = subject
    if named is not None:
        found["resource"]["id"] = named
    return found


def test_who_may_do_it_is_found() -> None:
    """Those whom a policy forbids it are not among them."""
    found = search().subjects(body("tool", subject=None, named="read_file"))
    assert [{"type": "agent_instance", "id": name} for name in ("a", "c", "d")] == found["results"]
    assert {"next_token": "", "count": 3} == found["page"]


@pytest.mark.parametrize(
    ("kind", "action", "expected"),
    [
        ("tool", "tools/call", ["read_file", "search"]),
        ("model", "model.call", ["openai/gpt-5"]),
        ("provider", "model.list", ["openai"]),
        ("host", "net.connect", ["api.example.com:443"]),
        ("memory", "memory.read", ["session"]),
        ("memory", "memory.write", []),
        ("unheard-of", "tools/call", []),
    ],
)
def test_what_it_may_be_done_to_is_what_the_manifest_writes_out(kind: str, action: str, expected: list[str]) -> None:
    """A pattern is nobody's name, and what a policy forbids is no result."""
    assert expected == [one["id"] for one in search().resources(body(kind, action=action))["results"]]


def test_a_tool_of_a_server_says_whose_it_is() -> None:
    """So that the result can be asked about."""
    found = search().resources(body("tool"))["results"]
    assert {"type": "tool", "id": "search", "properties": {"server": "github"}} in found


def test_what_may_be_done_is_of_the_resources_type() -> None:
    """A tool is called, and neither read nor run."""
    assert [{"name": "tools/call"}] == search().actions(body("tool", named="read_file"))["results"]
    assert [] == search().actions(body("tool", named="delete"))["results"]


def test_results_come_in_pages() -> None:
    """Each names the next, the last one none."""
    asked, found = body("tool", subject=None, named="read_file"), []
    token, pages = "", 0
    while pages == 0 or token:
        page = search().subjects({**asked, "page": {"limit": 2, "token": token}})
        found += [one["id"] for one in page["results"]]
        token, pages = page["page"]["next_token"], pages + 1
    assert (["a", "c", "d"], 2) == (found, pages)


def test_a_page_ends_where_much_was_tried() -> None:
    """With nothing on it, and the token of the next: no search holds up who decides live calls."""
    many = {f"i{place:04}": instance(f"i{place:04}", "search") for place in range(TRIED_MAX)}
    snapshot = Snapshot(instances={**many, "z": instance("z", "x")}, grants=SNAPSHOT.grants, policy=SNAPSHOT.policy)
    found = Search(snapshot=snapshot, moment=lambda _: Moment(at_unix_nano=0))
    asked = body("tool", subject=None, named="read_file")
    first = found.subjects(asked)
    second = found.subjects({**asked, "page": {"token": first["page"]["next_token"]}})
    assert ([], ["z"], "") == (first["results"], [one["id"] for one in second["results"]], second["page"]["next_token"])


def test_the_next_page_is_of_the_same_search() -> None:
    """With its length where none is said; of another search it is refused."""
    asked = body("tool", subject=None, named="read_file")
    first = search().subjects({**asked, "page": {"limit": 2}})
    token = first["page"]["next_token"]
    assert ["d"] == [one["id"] for one in search().subjects({**asked, "page": {"token": token}})["results"]]
    for other in (
        {**asked, "context": {"session": "s"}, "page": {"token": token}},
        {**asked, "page": {"token": token, "limit": 1}},
    ):
        with pytest.raises(WireError, match="it is of another search"):
            search().subjects(other)
    assert [*first] == ["page", "results"]


def test_an_agent_hears_of_itself_alone() -> None:
    """Whoever it asks about."""
    own = search("c")
    assert ["c"] == [one["id"] for one in own.subjects(body("tool", subject=None, named="read_file"))["results"]]
    assert ([], []) == (own.resources(body("tool"))["results"], own.actions(body("tool", named="read_file"))["results"])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (5, "the body"),
        ({"action": {"name": "tools/call"}}, "resource: expected an object with the type"),
        ({**body("tool"), "page": 5}, "page: expected an object"),
        ({**body("tool"), "page": {"limit": -1}}, "page.limit"),
        ({**body("tool"), "page": {"token": "x"}}, "page.token"),
        ({**body("tool"), "page": {"token": "LTU="}}, "page.token"),
        ({**body("tool"), "action": {"name": "nope"}}, "action.name"),
    ],
)
def test_what_is_no_search_is_refused(asked: object, expected: str) -> None:
    """With its place."""
    with pytest.raises(WireError, match=expected):
        search().resources(asked)


def test_the_metadata_names_every_endpoint() -> None:
    """Below the address of the decision point."""
    found = metadata("https://control.example.com")
    paths = {str(one).removeprefix("https://control.example.com") for one in found.values()}
    searches = {f"/access/v1/search/{what}" for what in ("subject", "resource", "action")}
    assert {"", "/access/v1/evaluation", "/access/v1/evaluations", *searches} == paths
