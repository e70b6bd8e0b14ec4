"""Issuers of a file: how their keys are found, which claims say what, and what is said of a token that is not good."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate_control.decide.core import Snapshot
from headgate_control.identity.credentials import NOBODYS, Credentials, Identified
from headgate_control.identity.foreign_tokens import ForeignTokens
from headgate_control.identity.instance import Instance
from headgate_control.identity.issuer_keys import (
    DISCOVERY,
    FETCH_AGAIN_S,
    FETCH_EVERY_S,
    KEPT_S_MAX,
    discovered,
)
from headgate_control.state import State
from headgate_control.testing.foreign_issuer import LocalIssuer
from headgate_control.testing.identities import NOW, SECOND, SetClock
from headgate_processors.errors import ConfigError, TransientError

GITHUB = "{claims: {repository: acme/calc, ref: refs/heads/main}, instance: ai-1}"
SECRET = "repo:acme/secret"


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    """The identity provider, while it answers."""
    with LocalIssuer.serving(at_unix_nano=NOW) as made:
        yield made


class Site:
    """A site that believes the issuer by a file."""

    def __init__(self, folder: Path, issuer: LocalIssuer, clock: SetClock, agent: Instance) -> None:
        self.file, self.issuer = folder / "issuers.yaml", issuer
        self.write()
        self.foreign = ForeignTokens.open(self.file, clock=clock)
        state = State(snapshot=Snapshot(instances={agent.instance_id: agent}))
        self.credentials = Credentials(lambda: state, foreign=self.foreign, clock=clock)

    def write(self, more: str = f"instances: [{GITHUB}]") -> None:
        """Replace the file."""
        self.file.write_text(f"issuers:\n  - issuer: {self.issuer.name}\n    audience: headgate\n    {more}\n")
        self.file.chmod(0o600)

    def told(self, **changes: Any) -> Identified | str:
        """Whom a token shows at the gateway."""
        return self.credentials.told(self.issuer.token(**changes), "gateway")


@pytest.fixture
def site(tmp_path: Path, issuer: LocalIssuer, clock: SetClock, agent: Instance) -> Site:
    """The site."""
    return Site(tmp_path, issuer, clock, agent)


def test_keys_are_found_by_the_issuers_name(site: Site, issuer: LocalIssuer) -> None:
    """Off the path of a call: until they are fetched nobody is believed."""
    before = site.told()
    assert ([], [DISCOVERY, "/keys"]) == (site.foreign.refresh(), issuer.asked)
    found = site.told()
    assert isinstance(found, Identified)
    assert ("no good token: the token is signed with a key that is not known of its issuer", "ai-1") == (
        before,
        found.instance_id,
    )
    assert f"{issuer.name}#{found.user}" == found.credential_id


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"aud": "sts.example"}, "the token is for another audience: 'headgate' is expected of its issuer"),
        ({"exp": None}, "the token has no claim 'exp'"),
        ({"exp": 1}, "the token has expired"),
        ({"sub": None}, "the token has no claim 'sub'"),
        ({"repository": SECRET}, "the token fits no rule of `instances`"),
        ({"ref": None}, "the token fits no rule of `instances`"),
        ({"ref": 7}, "the token fits no rule of `instances`"),
    ],
)
def test_what_is_wrong_with_a_token_is_said(site: Site, changes: dict[str, Any], expected: str) -> None:
    """The name of a claim, and nothing that is in the token."""
    site.foreign.refresh()
    told = site.told(**changes)
    assert (f"no good token: {expected}", False) == (told, SECRET in str(told))


@pytest.mark.parametrize(
    ("more", "changes", "expected"),
    [
        ("claims: {instance: agent}", {"agent": "ai-1"}, "ai-1"),
        ("claims: {instance: agent}", {}, "the token has no claim 'agent', which names the instance"),
        (
            f"claims: {{instance: agent}}\n    instances: [{GITHUB}]",
            {"ref": "x"},
            "the token has no claim 'agent', which names the instance and fits no rule of `instances`",
        ),
        ("claims: {instance: agent}", {"agent": "ai-9"}, "its instance is none that is registered here, or is revoked"),
        ("claims: {instance: agent, user: email}", {"agent": "ai-1"}, "the token has no claim 'email'"),
        ("claims: {instance: agent, team: t}", {"agent": "ai-1"}, "the token has no claim 't'"),
        ("claims: {instance: agent, team: t}", {"agent": "ai-1", "t": "x"}, "it is of another team than its instance"),
        ("claims: {instance: agent, team: t}", {"agent": "ai-1", "t": "payments"}, "ai-1"),
        ("instances: [{claims: {groups: 'a*'}, instance: ai-1}]", {"groups": ["b", "ab"]}, "ai-1"),
        ("instances: [{claims: {ref_protected: 'true'}, instance: ai-1}]", {"ref_protected": True}, "ai-1"),
        ("instances: [{claims: {sub: 'system:sa:ci:*'}, instance: ai-1}]", {"sub": "system:sa:ci:fixer"}, "ai-1"),
    ],
)
def test_claims_name_the_instance_the_user_and_the_team(
    site: Site, more: str, changes: dict[str, Any], expected: str
) -> None:
    """One claim, or a rule over several; the file is read again when it changes, and keys that are known stay."""
    site.foreign.refresh()
    site.write(more)
    assert site.foreign.is_due()
    assert [] == site.foreign.refresh()
    told = site.told(**changes)
    assert expected == (told.instance_id if isinstance(told, Identified) else told.removeprefix("no good token: "))


def test_a_file_that_is_wrong_changes_nothing(site: Site) -> None:
    """It is told once, and what was read before is believed."""
    site.foreign.refresh()
    site.write("instances: []")
    (problem,) = site.foreign.refresh()
    assert "no token would be of an instance: give claims.instance, or instances" in problem
    assert (False, True) == (site.foreign.is_due(), isinstance(site.told(), Identified))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("issuers: [{issuer: https://a, audience: b, claims: {instance: c}, jwks: d}]", "unknown key 'jwks'"),
        (
            f"issuers: [{', '.join(['{issuer: https://a, audience: b, claims: {instance: c}}'] * 2)}]",
            "https://a stands there twice",
        ),
    ],
)
def test_a_file_that_is_wrong_at_the_start_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """With the place where it stands."""
    file = tmp_path / "issuers.yaml"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match=expected):
        ForeignTokens.open(file)


def test_keys_that_cannot_be_fetched_again_are_good_for_a_day(site: Site, issuer: LocalIssuer, clock: SetClock) -> None:
    """Whoever withdrew one is not heard meanwhile; it is tried every minute."""
    site.foreign.refresh()
    issuer.answers = {}
    clock.now += FETCH_EVERY_S * SECOND
    assert (True, 1) == (site.foreign.is_due(), len(site.foreign.refresh()))
    assert (False, True) == (site.foreign.is_due(), isinstance(site.told(), Identified))
    clock.now += FETCH_AGAIN_S * SECOND
    assert site.foreign.is_due()
    clock.now += KEPT_S_MAX * SECOND
    assert "no good token: the token is signed with a key that is not known of its issuer" == site.told()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, "speaks of another issuer"),
        ({"issuer": "https://mallory.example", "jwks_uri": "https://mallory.example/keys"}, "speaks of another issuer"),
        ({"issuer": "SELF"}, "names no jwks_uri"),
        ({"issuer": "SELF", "jwks_uri": "http://mallory.example/keys"}, "names no jwks_uri that begins with https://"),
        ({"issuer": "SELF", "jwks_uri": "file:///etc/passwd"}, "names no jwks_uri"),
    ],
)
def test_an_issuer_that_says_something_else_is_not_believed(
    issuer: LocalIssuer, answer: dict[str, str] | None, expected: str
) -> None:
    """Its document names itself, and keys that nobody on the way can change."""
    issuer.answers[DISCOVERY] = answer and {name: value.replace("SELF", issuer.name) for name, value in answer.items()}
    with pytest.raises(TransientError, match=expected):
        discovered(issuer.name)


def test_what_is_no_token_at_all_is_told_like_a_wrong_key(site: Site) -> None:
    """Whoever forgot the key is not sent looking for claims."""
    assert [NOBODYS] * 3 == [site.credentials.told(text, "gateway") for text in ("", "sk-x", "a.b.c")]
