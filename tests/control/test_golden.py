"""The golden cases through every wire of control: the same verdict, the same reason, the same row, whoever asks how.

`tests/gateways/test_golden_gateways.py` and `tests/console/test_golden_hook.py` are the other wires.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate_control.decide.service import Estimate
from headgate_control.policy.bundle import load_bundle
from headgate_control.policy.cases import Case, load_cases
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.trial import Setting, decided, differences, setting
from headgate_control.request import Request
from headgate_control.server.claude_code import answer, parse_hook
from headgate_control.server.search import ACTIONS_OF, Search
from headgate_control.testing.golden import (
    AGENT,
    GATEWAY,
    SECOND_NS,
    GoldenSite,
    hook_of,
    is_sayable,
    named,
    question,
    verdict,
)

GOLDEN = Path(__file__).parent / "golden"
ENGINE = PolicyEngine(load_bundle(GOLDEN))
CASES = [case for file in load_cases(GOLDEN).values() for case in file.cases]
SAYABLE = [case for case in CASES if is_sayable(case, setting(case, ENGINE))]
BY_HOOK = [case for case in SAYABLE if hook_of(case) is not None]


def is_in_a_query(case: Case) -> bool:
    """Whether a proxy can ask it by a GET: with a name and a session, and no arguments."""
    asked = case.request
    is_plain = not asked.context.keys() - {"session"} and not asked.resource.properties.keys() - {"server"}
    return is_plain and case.estimate is None


@pytest.fixture
def site(tmp_path: Path, case: Case) -> Iterator[GoldenSite]:
    """Control in the state of the case."""
    with closing(GoldenSite(tmp_path, setting(case, ENGINE))) as made:
        yield made


def told(answer: Mapping[str, Any]) -> tuple[object, ...]:
    """What an AuthZEN answer says."""
    context = answer["context"]
    tiers, warnings = context.get("access_request", {}).get("tiers", []), context.get("warnings", [])
    verdict = answer["decision"], context["effect"], context.get("code"), context["reason"]
    return (*verdict, context["policies"], tiers, warnings)


def expected(case: Case) -> tuple[object, ...]:
    """The same of the decision in process."""
    made = decided(setting(case, ENGINE)).decision
    verdict = made.allowed, made.effect, made.code, made.reason
    return (*verdict, list(made.policy_ids), list(made.tiers), list(made.warnings))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_in_process_it_is_decided_as_expected(case: Case) -> None:
    """With the row that is expected."""
    assert [] == [str(one) for one in differences(case, decided(setting(case, ENGINE)))]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_service_decides_and_logs_the_same(site: GoldenSite, case: Case) -> None:
    """Also where it is the reservation that does not fit."""
    tried = site.tried
    asked = Estimate(amount=tried.estimate, lifetime_ns=SECOND_NS) if tried.estimate is not None else None
    moment = tried.moment if asked is not None else tried.whole_moment()
    logged = asyncio.run(site.service(tried.request, moment, asked))
    assert verdict(decided(tried)) == verdict(logged) == site.row()


@pytest.mark.parametrize("case", SAYABLE, ids=named)
def test_every_wire_of_authzen_says_the_same(site: GoldenSite, case: Case) -> None:
    """One question, several, the status of a check; each is logged with the same row."""
    body, row = question(case), verdict(decided(site.tried))
    status, answer = asyncio.run(site.post("/access/v1/evaluation", body, token=GATEWAY))
    assert (200, expected(case), row) == (status, told(answer), site.row())
    _, several = asyncio.run(site.post("/access/v1/evaluations", {**body, "evaluations": [{}, {}]}, token=GATEWAY))
    assert [expected(case)] * 2 == [told(one) for one in several["evaluations"]]
    status, answer = asyncio.run(site.post("/access/v1/check", body, token=AGENT))
    assert (200 if expected(case)[0] else 403, expected(case), row) == (status, told(answer), site.row())


@pytest.mark.parametrize("case", [case for case in CASES if is_in_a_query(case)], ids=named)
def test_a_check_by_get_says_the_same(site: GoldenSite, case: Case) -> None:
    """As the status, for proxies that send no body."""
    asked = case.request
    server = asked.resource.properties.get("server")
    query = {
        "action": asked.action,
        "resource_type": asked.resource.type,
        "resource_id": f"{server}/{asked.resource.id}" if server else asked.resource.id,
        **({"session": asked.context["session"]} if "session" in asked.context else {}),
    }
    status, answer = asyncio.run(site.get("/access/v1/check", query, token=AGENT))
    row = verdict(decided(site.tried))
    assert (200 if expected(case)[0] else 403, expected(case), row) == (status, told(answer), site.row())


@pytest.mark.parametrize("case", SAYABLE, ids=named)
def test_searches_find_exactly_what_is_allowed(case: Case) -> None:
    """The action among those of the resource, the instance among those that are known."""
    tried, body = setting(case, ENGINE), question(case)

    def moment(_: Request) -> Any:
        return tried.whole_moment()

    search = Search(snapshot=tried.snapshot, moment=moment)
    actions = [one["name"] for one in search.actions(body)["results"]]
    subjects = [one["id"] for one in search.subjects({**body, "subject": {"type": "agent_instance"}})["results"]]
    assert case.request.action in ACTIONS_OF[case.request.resource.type]
    allowed = expected(case)[0]
    assert (allowed, allowed) == (case.request.action in actions, case.instance.id in subjects)


@pytest.mark.parametrize("case", BY_HOOK, ids=named)
def test_the_hook_of_claude_code_says_the_same(site: GoldenSite, case: Case) -> None:
    """In its own words: allow, ask or deny, and a stop ends the turn; what a tool does beside is asked with it."""
    body = hook_of(case)
    status, found = asyncio.run(site.post("/hooks/claude-code", body, token=AGENT))
    asked = [asked_as(site.tried, one) for one in parse_hook(body, site.tried.request.subject)]
    made = [decided(one) for one in asked]
    assert (200, answer([one.decision for one in made])) == (status, found)
    of_case = decided(site.tried).decision
    assert verdict(made[-1]) == site.row()
    assert (of_case.effect, of_case.code, of_case.reason) == tuple(
        site.row()[column] for column in ("effect", "code", "reason")
    )


def asked_as(tried: Setting, request: Request) -> Setting:
    """The state of a case with another request."""
    return replace(tried, request=request)
