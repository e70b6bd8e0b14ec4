"""Manifests: what they grant, that a lower level only narrows, and what a mistake in one says."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from headgate_control.identity.launch import budgets_of
from headgate_control.manifests.compare import differences
from headgate_control.manifests.entries import COMPARED_MAX, REST, effective, granted, widenings
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.limits import held_by
from headgate_control.manifests.load import load_manifest, load_profiles, parse_manifest
from headgate_control.manifests.rulings import Ruling
from headgate_control.manifests.spec import ManifestFile
from headgate_control.request import ActionName, Request, Resource, Subject
from headgate_control.testing.identities import instance
from headgate_processors.errors import ConfigError

HEAD = "apiVersion: headgate.dev/v1\nkind: AgentManifest\n"
CONTRACT = (
    HEAD
    + """
metadata: {name: fixer, team: payments, workflow: fix-tests, repo: acme/calc}
spec:
  models: [{provider: openai, model: "gpt-5-*"}]
  tools:
    - {tool: read_file}
    - {tool: run_tests, approval: none}
    - {mcp_server: github, tool: create_pull_request, approval: high}
  filesystem: {read: ["."], write: ["src", "tests"]}
  network: [api.example.com:443]
  credentials: [github-readonly]
  memory: {scope: repo, write: false}
  budgets: [{scope: instance, window: total, usd: 1.00, mode: hard}]
  runtime: {driver: bubblewrap}
"""
)
PLATFORM = """
apiVersion: headgate.dev/v1
kind: AgentProfile
metadata: {name: everyone, level: platform}
spec:
  models: [{provider: "*", model: "*"}]
  tools: [{tool: "*"}, {tool: "delete_*", mcp_server: "*", approval: high}, {tool: "*", mcp_server: "*"}]
  network: ["*.example.com:443"]
  budgets: [{scope: platform, window: day, usd: 500}]
"""
TEAM = """
apiVersion: headgate.dev/v1
kind: AgentProfile
metadata: {name: payments, level: team, inherits: everyone}
spec:
  models: [{provider: openai, model: "gpt-5-*"}]
"""


def ask(action: ActionName, named: str, *, server: str | None = None, **arguments: object) -> Request:
    """A request of some instance."""
    return Request(
        subject=Subject(type="agent_instance", id="ai-1"),
        action=action,
        resource=Resource(type="any", id=named, properties={} if server is None else {"server": server}),
        context={"input": arguments},
    )


def grant(text: str, *profiles: str) -> Grant:
    """A manifest under profiles."""
    above: dict[str, ManifestFile] = {}
    for profile in profiles:
        made = parse_manifest(profile, above, source="profile")
        above[made.metadata.name] = made.levels[-1]
    return parse_manifest(text, above, source="manifest.yaml")


def manifest(spec: str, *, inherits: str | None = None) -> str:
    """The text of a manifest."""
    metadata = "{name: fixer}" if inherits is None else f"{{name: fixer, inherits: {inherits}}}"
    return f"{HEAD}metadata: {metadata}\nspec: {spec}\n"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ask("model.call", "openai/gpt-5-mini"), (True, "none")),
        (ask("model.call", "openai/gpt-4o"), (False, "none")),
        (ask("model.call", "anthropic/gpt-5-mini"), (False, "none")),
        (ask("tools/call", "read_file"), (True, "none")),
        (ask("tools/call", "read_file", server="files"), (False, "none")),
        (ask("tools/call", "create_pull_request", server="github"), (True, "high")),
        (ask("tools/call", "create_pull_request"), (False, "none")),
        (ask("file.read", "README.md"), (True, "none")),
        (ask("file.write", "src/calc.py"), (True, "none")),
        (ask("file.write", "src/../README.md"), (False, "none")),
        (ask("net.connect", "API.example.com.:443"), (True, "none")),
        (ask("net.connect", "api.example.com:80"), (False, "none")),
        (ask("credential.use", "github-readonly"), (True, "none")),
        (ask("memory.read", "workflow"), (True, "none")),
        (ask("memory.read", "team"), (False, "none")),
        (ask("memory.write", "repo"), (False, "none")),
        (ask("instance.launch", "bubblewrap"), (True, "none")),
        (ask("proc.exec", "ls"), (False, "none")),
        (ask("agent.send", "other"), (False, "none")),
        (ask("resources/read", "file:///x"), (False, "none")),
        (ask("artifact.export", "dist/x"), (False, "none")),
    ],
)
def test_the_manifest_of_the_contract_grants_what_it_names(request_: Request, expected: tuple[bool, str]) -> None:
    """And nothing else, for the default is nothing."""
    ruling = grant(CONTRACT).ruling(request_)
    assert expected == (ruling.granted, ruling.approval)


def test_an_empty_manifest_grants_nothing() -> None:
    """And says so for every action."""
    assert Ruling(granted=False, reason="manifest 'fixer' grants no model.call") == grant(manifest("{}")).ruling(
        ask("model.call", "openai/gpt-5")
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pytest -q tests", True),
        ("pytest   -q", True),
        ("pytest -q; rm -rf /", False),
        ("pytest $(cat /etc/passwd)", False),
        ("pytest -q\nrm -rf /", False),
        ("make test && make check", True),
        ("make test && make  check", False),
        ("pytests", False),
    ],
)
def test_operators_of_the_shell_are_granted_word_for_word(line: str, expected: bool) -> None:
    """A pattern stands for one simple command, whatever `*` could hold."""
    granted = grant(manifest('{commands: ["pytest *", "pytest", "make test && make check"]}'))
    assert expected == granted.ruling(ask("proc.exec", line)).granted


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"path": "src/a.py", "mode": "r", "lines": 10}, ""),
        ({"mode": "r"}, "manifest 'fixer': read: argument 'path' is missing"),
        ({"path": "src/../x", "mode": "r"}, "manifest 'fixer': read: argument 'path' is outside the paths allowed"),
        ({"path": ["src"], "mode": "r"}, "manifest 'fixer': read: argument 'path' is outside the paths allowed"),
        ({"path": "src", "mode": True}, "manifest 'fixer': read: argument 'mode' is none of those allowed"),
        ({"path": "src", "lines": 101}, "manifest 'fixer': read: argument 'lines' is too large"),
        ({"path": "src", "lines": 0.5}, "manifest 'fixer': read: argument 'lines' is too small"),
        ({"path": "src", "lines": float("nan")}, "manifest 'fixer': read: argument 'lines' is no number"),
        ({"path": "src", "lines": "5"}, "manifest 'fixer': read: argument 'lines' is no number"),
        ({"path": "src", "name": "abcde"}, "manifest 'fixer': read: argument 'name' is too long, or no text"),
        ({"path": "src", "url": "http://x"}, "manifest 'fixer': read: argument 'url' matches no pattern"),
        ({"path": "src", "token": "x"}, "manifest 'fixer': read: argument 'token' is not among those named"),
    ],
)
def test_arguments_are_held_to_their_rules(arguments: Mapping[str, object], expected: str) -> None:
    """The reason names the argument and never its value."""
    granted = grant(
        manifest(
            "{tools: [{tool: read, other_arguments: false, arguments: {path: {path: [src], required: true},"
            " mode: {one_of: [r, 1]}, lines: {min: 1, max: 100}, name: {max_chars: 4}, url: {glob: ['https://*']}}}]}"
        )
    )
    assert expected == granted.ruling(ask("tools/call", "read", **arguments)).reason


def test_the_first_rule_that_fits_speaks() -> None:
    """So that an exception stands before what it is an exception of."""
    granted = grant(manifest("{tools: [{tool: read_file}, {tool: '*', approval: high}]}"))
    asked = (ask("tools/call", "read_file"), ask("tools/call", "drop_table"))
    assert ["none", "high"] == [granted.ruling(one).approval for one in asked]


def test_every_level_must_grant_it_and_the_strictest_approval_counts() -> None:
    """A lower level can only narrow."""
    granted = grant(
        manifest("{models: [{provider: '*', model: '*'}], tools: [{tool: '*', mcp_server: db}]}", inherits="payments"),
        PLATFORM,
        TEAM,
    )
    asked = [
        ask("model.call", "openai/gpt-5-mini"),
        ask("model.call", "anthropic/claude"),
        ask("tools/call", "delete_row", server="db"),
        ask("tools/call", "read_row", server="db"),
        ask("net.connect", "a.example.com:443"),
        ask("file.read", "a"),
    ]
    assert [
        (True, "none", ""),
        (False, "none", "profile 'payments': models does not name 'anthropic/claude'"),
        (True, "high", ""),
        (True, "none", ""),
        (True, "none", ""),
        (False, "none", "profile 'everyone' grants no file.read"),
    ] == [(found.granted, found.approval, found.reason) for found in map(granted.ruling, asked)]
    assert [500] == [budget.usd for budget in granted.budgets]


def test_the_platform_limits_what_is_spent_on_a_model() -> None:
    """For everybody, whose manifest ever says so; the others as before."""
    rules = "[{scope: model, id: openai/gpt-5, window: day, usd: 20}, {usd: 1}]"
    told = PLATFORM.replace("[{scope: platform, window: day, usd: 500}]", rules)
    made = list(budgets_of(grant(manifest("{}", inherits="everyone"), told), instance("ai-1")))
    assert [("everyone/model:openai/gpt-5:day:hard", ("model", "openai/gpt-5")), ("instance", "ai-1")] == [
        (made[0].budget_id, made[0].place),
        made[1].place,
    ]


def test_entries_wider_than_the_level_above_are_named() -> None:
    """They have no effect, and whoever wrote them should know."""
    granted = grant(
        manifest(
            "{models: [{provider: openai, model: gpt-5-mini}, {provider: openai, model: '*'}],"
            " network: ['example.com:443'], filesystem: {write: [src]}}",
            inherits="payments",
        ),
        PLATFORM,
        TEAM,
    )
    assert [
        "fixer: models: 'openai/*' is wider than what stands above grants",
        "fixer: filesystem.write: 'src' is wider than what stands above grants",
        "fixer: network: 'example.com:443' is wider than what stands above grants",
    ] == list(widenings(granted))


def test_what_is_granted_in_the_end_can_be_read() -> None:
    """Of each section the lowest level that has it."""
    granted = grant(manifest("{tools: [{tool: read_file}]}", inherits="payments"), PLATFORM, TEAM)
    assert snapshot(
        {
            "models": ["openai/gpt-5-*"],
            "tools": ["read_file"],
            "tools of MCP servers": [],
            "network": ["*.example.com:443"],
        }
    ) == {name: [entry.text for entry in entries] for name, entries in effective(granted).items()}


@pytest.mark.parametrize(
    ("above", "below", "expected"),
    [
        ("models: [{provider: openai, model: 'gpt-5*'}]", "models: [{provider: '*', model: '*'}]", ["openai/gpt-5*"]),
        ("models: [{provider: openai, model: 'gpt-5*'}]", "models: [{provider: '*', model: 'o3'}]", []),
        ("models: [{provider: '*', model: 'a*'}]", "models: [{provider: x, model: '*b'}]", ["x/*b and a*"]),
        (
            "tools: [{tool: read}, {tool: '*', approval: high}]",
            "tools: [{tool: 're*', arguments: {path: {path: [src]}}}, {tool: drop}]",
            ["read (path limited)", "re* (path limited), approval high", "drop, approval high"],
        ),
        ("tools: [{tool: '*', mcp_server: '*'}]", "mcp_servers: [github]", ["github/*"]),
        ("commands: ['*']", "commands: [make, make && make check]", ["make"]),
        ("commands: [make && make check]", "commands: ['*', make && make check]", ["make && make check"]),
        ("network: ['*.example.com:443']", "network: ['API.example.com:*', 'b.org:443']", ["api.example.com:443"]),
        ("filesystem: {read: [src, /etc]}", "filesystem: {read: ['.'], write: ['.']}", ["src"]),
        (
            "memory: {scope: repo, write: true}",
            "memory: {scope: team, write: false}",
            ["read session", "read workflow", "read repo"],
        ),
    ],
)
def test_no_more_is_said_to_be_granted_than_every_level_grants(above: str, below: str, expected: list[str]) -> None:
    """A lower level that asks for more is cut to what stands above it."""
    profile = PLATFORM[: PLATFORM.index("spec:")] + f"spec: {{{above}}}\n"
    made = grant(manifest(f"{{{below}}}", inherits="everyone"), profile)
    assert expected == [entry for _, entry, _ in granted(made)]


def test_levels_of_very_many_patterns_are_compared_in_bounded_time() -> None:
    """What is left out is said, and nothing is said to be granted that is not."""
    above, below = ("tools: [" + ", ".join(f"{{tool: '*{word}{at}*'}}" for at in range(200)) + "]" for word in "ab")
    profile = PLATFORM[: PLATFORM.index("spec:")] + f"spec: {{{above}}}\n"
    entries = [entry for _, entry, _ in granted(grant(manifest(f"{{{below}}}", inherits="everyone"), profile))]
    assert (True, REST.text) == (0 < len(entries) < COMPARED_MAX, entries[-1])


TOOLS = st.lists(
    st.fixed_dictionaries(
        {"tool": st.text("ab*?", min_size=1, max_size=3)},
        optional={"approval": st.sampled_from(["none", "low", "high"])},
    ),
    max_size=4,
)


@given(above=TOOLS, below=TOOLS, tool=st.text("ab", min_size=1, max_size=3))
def test_what_is_said_to_be_granted_is_what_is(above: list[object], below: list[object], tool: str) -> None:
    """The first entry that names a tool says what every level together rules, its approval too."""
    kinds = (("AgentProfile", {"name": "x", "level": "platform"}), ("AgentManifest", {"name": "y", "inherits": "x"}))
    levels = [
        ManifestFile.model_validate(
            {"apiVersion": "headgate.dev/v1", "kind": kind, "metadata": named, "spec": {"tools": tools}}
        )
        for (kind, named), tools in zip(kinds, (above, below), strict=True)
    ]
    made = Grant(tuple(levels))
    told = (one for one in effective(made)["tools"] if all(pattern.matches(tool) for pattern in one.parts[0]))
    ruled = made.ruling(ask("tools/call", tool))
    assert (ruled.approval if ruled.granted else None) == next((one.approval for one in told), None)


def limited(*levels: str) -> Grant:
    """A manifest below profiles that say these limits, from the top down; `-` says none."""
    names = ("everyone", "payments", "fixer")
    files = [
        ManifestFile.model_validate(
            {
                "apiVersion": "headgate.dev/v1",
                "kind": "AgentProfile",
                "metadata": {"name": name, "level": "platform"},
                "spec": {} if said == "-" else {"limits": yaml.safe_load(said)},
            }
        )
        for name, said in zip(names, levels, strict=False)
    ]
    return Grant(tuple(files))


def test_of_the_limits_of_every_level_the_least_holds() -> None:
    """What no level says is free, and what one asks for beyond those above has no effect, which it should know."""
    found = limited(
        "{calls_per_minute: 60, open_calls: 4}", "-", "{calls_per_minute: 90, tokens_per_minute: 5000, open_calls: 1}"
    )
    assert {
        "calls_per_minute": (60, "everyone"),
        "open_calls": (1, "fixer"),
        "tokens_per_minute": (5000, "fixer"),
    } == held_by(found)
    assert ["fixer: limits: '90 calls a minute' is wider than what stands above grants"] == list(widenings(found))
    assert [("limits", "60 calls a minute", "everyone"), ("limits", "1 calls at once", "fixer")] == [
        one for one in granted(found) if one[0] == "limits"
    ][:2]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("-", "{open_calls: 4}", [("+", "4 calls at once", "narrows")]),
        ("{open_calls: 4}", "-", [("-", "4 calls at once", "widens")]),
        ("{open_calls: 4}", "{open_calls: 4}", []),
        (
            "{open_calls: 4}",
            "{open_calls: 2, tokens_per_minute: 9}",
            [
                ("+", "2 calls at once", "narrows"),
                ("-", "4 calls at once", "same"),
                ("+", "9 tokens a minute", "narrows"),
            ],
        ),
        ("{open_calls: 4}", "{open_calls: 5}", [("+", "5 calls at once", "widens"), ("-", "4 calls at once", "same")]),
    ],
)
def test_a_limit_that_is_new_or_lower_narrows(old: str, new: str, expected: list[tuple[str, str, str]]) -> None:
    """One that is gone or higher widens."""
    found = [(one.sign, one.entry, one.effect) for one in differences(limited(old), limited(new))]
    assert sorted(expected) == sorted(found)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{usd: 1}", "{usd: 1.00}", []),
        (
            "{usd: 1}",
            "{usd: 9}",
            [
                ("+", "$9.00 for the instance, total, hard", "widens"),
                ("-", "$1.00 for the instance, total, hard", "same"),
            ],
        ),
        ("{usd: 1}", "{usd: 1}, {usd: 9}", []),
        ("{usd: 1}", "{usd: 1}, {calls: 5}", [("+", "5 calls for the instance, total, hard", "narrows")]),
        ("{usd: 1}, {calls: 5}", "{usd: 1}", [("-", "5 calls for the instance, total, hard", "widens")]),
        (
            "{usd: 1}",
            "{usd: 1, mode: soft}",
            [
                ("+", "$1.00 for the instance, total, soft", "same"),
                ("-", "$1.00 for the instance, total, hard", "widens"),
            ],
        ),
    ],
)
def test_a_budget_that_is_new_or_lower_narrows(old: str, new: str, expected: list[tuple[str, str, str]]) -> None:
    """One that is gone or higher widens; of several the least holds, and a soft one refuses nothing."""
    before, after = (grant(manifest(f"{{budgets: [{rules}]}}")) for rules in (old, new))
    found = [(one.sign, one.entry, one.effect) for one in differences(before, after)]
    assert sorted(expected) == sorted(found)


def test_limits_without_a_number_are_a_mistake() -> None:
    """It says what may be given."""
    with pytest.raises(ConfigError, match="give calls_per_minute, tokens_per_minute or open_calls"):
        parse_manifest(HEAD + "metadata: {name: x}\nspec: {limits: {}}", {}, source="x.yaml")


def test_the_digest_is_of_what_is_said_and_of_every_level() -> None:
    """Order of keys and defaults written out change nothing; a word in any level does."""
    same = [
        grant(manifest("{tools: [{tool: read_file}], models: []}")),
        grant(manifest("{models: [], tools: [{approval: none, tool: read_file}]}")),
    ]
    other = grant(manifest("{models: [], tools: [{tool: read_file}]}", inherits="everyone"), PLATFORM)
    assert (1, 2) == (len({one.digest for one in same}), len({one.digest for one in (*same, other)}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            manifest("{modles: []}"),
            "manifest.yaml:4: spec.modles: unknown key 'modles'; did you mean 'models'?",
        ),
        (
            manifest("{network: [example.com]}"),
            (
                "manifest.yaml:4: spec.network[0]: 'example.com': expected HOST:PORT, such as"
                " api.example.com:443; `*` stands for any port"
            ),
        ),
        (
            manifest("{budgets: [{scope: team}]}"),
            ("manifest.yaml:4: spec.budgets[0]: a budget without an amount: give usd, tokens, calls or seconds"),
        ),
        (
            manifest("{budgets: [{scope: model, id: openai/gpt-5, usd: 1}]}"),
            "manifest.yaml:4: spec.budgets[0].scope: 'model' is limited further up; here may stand: instance",
        ),
        (
            manifest("{budgets: [{id: openai/gpt-5, usd: 1}]}"),
            (
                "manifest.yaml:4: spec.budgets[0]: id: that of a model names it, as PROVIDER/MODEL; every other scope "
                "is known without"
            ),
        ),
        (
            manifest("{}", inherits="team-default"),
            "manifest 'fixer' inherits 'team-default', which is no profile; known are: none is there",
        ),
        (
            HEAD.replace("AgentManifest", "AgentProfile") + "metadata: {name: x}",
            "manifest.yaml:3: metadata.level: a profile stands at one of these levels: platform, team, workflow",
        ),
    ],
)
def test_a_mistake_is_named_where_it_stands(text: str, expected: str) -> None:
    """With what was expected."""
    with pytest.raises(ConfigError) as raised:
        grant(text)
    assert expected == str(raised.value)


def test_a_profile_stands_above_what_inherits_it() -> None:
    """So no chain comes back to itself."""
    upside_down = TEAM.replace("inherits: everyone", "inherits: payments")
    with pytest.raises(ConfigError, match="'payments' inherits 'payments', which does not stand above it"):
        grant(upside_down, TEAM.replace(", inherits: everyone", ""))


def test_profiles_come_from_a_folder(tmp_path: Path) -> None:
    """Manifests that lie there too are left alone."""
    for name, text in (("a", PLATFORM), ("b", TEAM), ("c", CONTRACT)):
        (tmp_path / f"{name}.yaml").write_text(text)
    profiles = load_profiles(tmp_path)
    assert ["everyone", "payments"] == sorted(profiles)
    assert 2 == len(load_manifest(tmp_path / "b.yaml", profiles).levels)
    assert {} == load_profiles(tmp_path / "nowhere")


def test_two_profiles_of_one_name_are_refused(tmp_path: Path) -> None:
    """Both files are named."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(PLATFORM)
    with pytest.raises(ConfigError, match=r"b\.yaml: profile 'everyone' stands in .*a\.yaml already"):
        load_profiles(tmp_path)
