"""`headgate policy init | check | test | explain | simulate`: policies before they decide anything."""

import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, Since, Workflow, examples, moment, settings, views
from headgate_console.cli.progress import progress
from headgate_console.cli.screen import Screen, screen
from headgate_console.errors import CommandError
from headgate_console.render.numbers import plural
from headgate_console.render.table import Column
from headgate_processors.errors import ConfigError

if TYPE_CHECKING:
    from headgate_console.queries.rows import Row
    from headgate_console.settings import Settings
    from headgate_control.decide.decision import Decision
    from headgate_control.identity.directory import Directory
    from headgate_control.manifests.grant import Grant
    from headgate_control.policy.cases import Case
    from headgate_control.policy.engine import PolicyEngine
    from headgate_control.policy.explain import Explanation
    from headgate_control.policy.history import Recorded
    from headgate_control.policy.recall import Recalled
    from headgate_control.policy.simulate import Report

HELP = "Write, check, test and try out policies: Cedar, over what manifests grant."
INIT_EXAMPLES = """
    headgate policy init policy
"""
CHECK_EXAMPLES = """
    headgate policy check policy
    headgate policy check policy --json
"""
TEST_EXAMPLES = """
    headgate policy test policy
    headgate policy test policy --json
"""
EXPLAIN_EXAMPLES = """
    headgate policy explain policy --request request.json
    headgate policy explain policy --case "nothing is deleted" --json
    headgate policy explain --decision dec-01KB0EXAMPLE
"""
SIMULATE_EXAMPLES = """
    headgate policy simulate policy --data headgate-data --since 7d
    headgate policy simulate policy --manifest fixer.yaml --workflow fix-tests --json
"""
REQUEST_BYTES_MAX = 1 << 20
MaybeFolder = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="Folder of policies; `policy.dir` by default.", show_default=False)
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of policies, as `policy.dir` names it.")]
_CASES = (
    Column(key="result", title="RESULT", style="cyan"),
    Column(key="case", title="CASE", shrink_to=16),
    Column(key="file", title="FILE", rank=1),
)
_STEPS = (
    Column(key="step", title="STEP", style="cyan"),
    Column(key="verdict", title="VERDICT"),
    Column(key="told", title="WHY", shrink_to=16),
)
_POLICIES = (
    Column(key="policy_id", title="POLICY", style="cyan"),
    Column(key="effect", title="EFFECT"),
    Column(key="determined", title="DETERMINED"),
)
_UNKNOWN = (
    Column(key="what", title="NOT RECORDED", style="cyan"),
    Column(key="told", title="WHAT IT IS", shrink_to=16),
    Column(key="asked_by", title="ASKED FOR BY", shrink_to=12),
)
_CAUSES = (
    Column(key="effect", title="EFFECT", style="cyan"),
    Column(key="code", title="CODE"),
    Column(key="by", title="BY", shrink_to=16),
    Column(key="calls", title="CALLS", align="right"),
    Column(key="sessions", title="SESSIONS", align="right"),
    Column(key="sessions_succeeded", title="SUCCEEDED", align="right", rank=2),
    Column(key="cost_usd", title="COST", align="right", rank=1),
)


def init(folder: Folder) -> None:
    """Write the bundle to begin with, and its cases: it permits what manifests grant.

    Folders with policies in them are left alone.
    """
    from headgate_console.errors import about_file
    from headgate_control.policy.starter.files import write_starter

    to = screen()
    try:
        to.show(map(str, write_starter(folder)))
    except OSError as error:
        raise CommandError(about_file(error)) from error
    to.say(f"Name it in headgate.yaml as policy: {{dir: {folder}}}. Try it: headgate policy test {folder}")


def check(context: typer.Context, folder: Folder, data: Data = None, as_json: Json = False) -> None:
    """Check a bundle: every policy against the schema, and what is valid but probably not meant.

    Where control has a directory, names of teams, users, repositories and so on that it does not have are told, too.

    Exit code 2 says that it is wrong and would be refused; warnings are told on stderr.
    """
    from headgate_console.control.reading import directory_of
    from headgate_control.policy.bundle import load_bundle
    from headgate_control.policy.check import unknown_names, warnings

    bundle, to = load_bundle(folder), screen()
    told = [*warnings(bundle), *unknown_names(bundle, directory_of(settings(context, data=data)))]
    permits = sum(policy.permits for policy in bundle.policies.values())
    counts = {"permits": permits, "forbids": len(bundle.policies) - permits}
    if as_json:
        to.json([{"folder": str(folder), "digest": bundle.digest, **counts, "warnings": told}])
    else:
        of = f"{plural(permits, 'permit')} and {plural(counts['forbids'], 'forbid')}"
        to.show([f"{folder}: {of}, valid, {bundle.digest}"])
    for sentence in told:
        to.say(sentence)


def run_cases(folder: Folder, as_json: Json = False) -> None:
    """Run the golden cases in `tests` of a bundle through the decision that gateways ask for.

    A case says who asks for what under what, and what is decided and logged. Exit code 1 says that one fails.
    """
    from headgate_control.policy.bundle import load_bundle
    from headgate_control.policy.engine import PolicyEngine

    rows, to = list(_tried(folder, PolicyEngine(load_bundle(folder)))), screen()
    failed = [row for row in rows if row["result"] == "failed"]
    if not rows:
        message = f"{folder / 'tests'} has no cases: write some in a *.yaml there, or see `headgate policy init`"
        raise CommandError(message)
    if as_json:
        to.json(rows)
    else:
        to.table(_CASES, rows)
    for row in failed:
        to.say(f"{row['file']}: {row['case']}")
        for difference in row["differences"]:
            to.say(f"  {difference['what']}: expected {difference['expected']!r}, got {difference['actual']!r}")
    if failed:
        message = f"{len(failed)} of {plural(len(rows), 'case')} failed"
        raise CommandError(message)


def explain(
    context: typer.Context,
    folder: MaybeFolder = None,
    request: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="An AuthZEN evaluation; `-` is stdin. Its subject's properties are believed."
        ),
    ] = None,
    case: Annotated[str | None, typer.Option(metavar="NAME", help="A golden case of the bundle, by its name.")] = None,
    decision: Annotated[
        str | None,
        typer.Option(metavar="ID", help="A recorded decision, or the beginning of its id: is it the same today?"),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The manifest of who asks; without one all is granted.")
    ] = None,
    approved: Annotated[
        list[str] | None, typer.Option(metavar="TIER", help="An approval that was given; may be said more than once.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Take one decision apart: what each step says, which policies are looked at, and which determine it.

    A recorded one is asked again, by the policies, stops, instances and manifests of now: whether it would be the same,
    and what of it is not recorded, such as arguments, which policies may ask for.
    """
    if sum(one is not None for one in (request, case, decision)) != 1:
        message = "give one of --request FILE, --case NAME and --decision ID"
        raise ConfigError(message)
    from headgate_console.control.reading import directory_of

    chosen = settings(context, data=data)
    engine, to = _engine(chosen, folder), screen()
    if decision is not None:
        if manifest is not None or approved:
            message = "--manifest and --approved go with --request and --case: a recorded decision has its own manifest"
            raise ConfigError(message)
        _show_recalled(to, *_recalled(chosen, engine, decision), as_json=as_json)
        return
    asked = _case(folder or chosen.policy.dir, request, case, approved or [])
    found = _explained(engine, asked, manifest, directory_of(chosen) if request is not None else None)
    if as_json:
        to.json([{**_verdict(found.decision), **_apart(found)}])
        return
    to.show([f"{found.decision.effect}: {found.decision.reason}", ""])
    _show_apart(to, found)


def simulate(
    context: typer.Context,
    folder: Folder,
    data: Data = None,
    since: Since = None,
    workflow: Workflow = None,
    manifests: Annotated[
        list[Path] | None,
        typer.Option(
            "--manifest", metavar="FILE", help="A manifest for the calls of its team, workflow and repo; repeatable."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Try a draft on recorded calls: which would have been denied, in which sessions, by what.

    Nothing is enforced and nothing is written. Instances without a manifest here may do all that the policies permit.
    """
    from headgate_console.control.reading import directory_of
    from headgate_console.queries.history import VIEWS, recorded_rows
    from headgate_control.policy.bundle import load_bundle
    from headgate_control.policy.engine import PolicyEngine
    from headgate_control.policy.history import recorded
    from headgate_control.policy.simulate import Simulation

    engine, to = PolicyEngine(load_bundle(folder)), screen()
    chosen = settings(context, data=data)
    simulation = Simulation(engine, _granted(context, manifests or []), directory_of(chosen))
    connection = views(chosen, only=VIEWS)
    count, rows = recorded_rows(connection, since=moment(since), workflow=workflow)
    with progress(to, "calls") as bar:
        report = simulation.run(map(recorded, rows), lambda done: bar(done, count))
    _show(to, report, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    for name, command, lines in (
        ("init", init, INIT_EXAMPLES),
        ("check", check, CHECK_EXAMPLES),
        ("test", run_cases, TEST_EXAMPLES),
        ("explain", explain, EXPLAIN_EXAMPLES),
        ("simulate", simulate, SIMULATE_EXAMPLES),
    ):
        group.command(name, epilog=examples(lines))(command)
    app.add_typer(group, name="policy", epilog=examples(TEST_EXAMPLES))


def _tried(folder: Path, engine: "PolicyEngine") -> Iterator[dict[str, Any]]:
    from dataclasses import asdict

    from headgate_control.policy.cases import load_cases
    from headgate_control.policy.trial import decided, differences, setting

    for path, file in load_cases(folder).items():
        for case in file.cases:
            found = [asdict(one) for one in differences(case, decided(setting(case, engine)))]
            result = "failed" if found else "passed"
            yield {"file": path.name, "case": case.name, "result": result, "differences": found}


def _engine(chosen: "Settings", folder: Path | None) -> "PolicyEngine":
    """The policies of a folder, else those that decide here."""
    from headgate_console.control.parts import bundle_of_settings
    from headgate_control.policy.bundle import load_bundle
    from headgate_control.policy.engine import PolicyEngine

    return PolicyEngine(load_bundle(folder) if folder is not None else bundle_of_settings(chosen))


def _recalled(chosen: "Settings", engine: "PolicyEngine", decision_id: str) -> "tuple[Row, Recalled]":
    """A recorded decision, and what it is asked again, by the state of control as it is."""
    import time

    from headgate_console.control.reading import reading
    from headgate_console.queries.decisions import VIEWS, decision
    from headgate_control.policy.recall import recall
    from headgate_control.state import ControlState

    row = decision(views(chosen, only=VIEWS), decision_id)
    with reading(chosen) as store:
        snapshot = ControlState(store, engine).now.snapshot
    return row, recall(row, snapshot, at_unix_nano=time.time_ns())


def _verdict(decision: "Decision") -> dict[str, Any]:
    verdict: dict[str, Any] = {"decision": decision.allowed, "effect": decision.effect, "code": decision.code}
    return verdict | {"reason": decision.reason, "policy_ids": list(decision.policy_ids)}


def _apart(found: "Explanation") -> dict[str, Any]:
    from dataclasses import asdict

    steps, looked = [asdict(one) for one in found.steps], [asdict(one) for one in found.looked_at]
    return {"steps": steps, "looked_at": looked, "policies": found.policies}


def _show_apart(to: Screen, found: "Explanation") -> None:
    apart = _apart(found)
    to.table(_STEPS, apart["steps"])
    to.show([""])
    to.table(_POLICIES, [{**one, "determined": "yes" if one["determined"] else ""} for one in apart["looked_at"]])
    to.say(f"{len(apart['looked_at'])} of {plural(found.policies, 'policy', 'policies')} could match.")


def _show_recalled(to: Screen, row: "Row", found: "Recalled", *, as_json: bool) -> None:
    """What was decided, what would be now, and what nobody knows any more."""
    from dataclasses import asdict

    recorded = ("decision", "effect", "code", "reason", "policy_ids", "policy_digest", "stop_epoch", "time")
    now = found.explanation.decision
    digests = {"policy_digest": now.policy_digest, "stop_epoch": now.stop_epoch}
    unknown = [asdict(one) for one in found.unknown]
    if as_json:
        then = {name: row[name] for name in recorded}
        told = {"decision_id": row["decision_id"], "same": found.same, "certain": found.certain, "then": then}
        to.json([{**told, "now": {**_verdict(now), **digests}, "unknown": unknown, **_apart(found.explanation)}])
        return
    bundle = "the same policies" if row["policy_digest"] == now.policy_digest else "other policies"
    same = "the same" if found.same else "another decision"
    doubt = "" if found.certain else " What is not recorded may change that: see below."
    to.show([f"{row['decision_id']}: {row['action']} of {row['resource_id']} by {row['instance_id']}"])
    to.show([f"then  {row['effect']}: {row['reason']}", f"now   {now.effect}: {now.reason}"])
    to.show([f"Today, under {bundle}: {same}.{doubt}", ""])
    _show_apart(to, found.explanation)
    to.show([""])
    to.table(_UNKNOWN, [{**one, "asked_by": ", ".join(one["asked_by"])} for one in unknown])


def _case(folder: Path | None, request: str | None, name: str | None, approved: Sequence[str]) -> "Case":
    """The case to explain: one of the bundle's own, or one made of a request.

    Raises:
        ConfigError: there is no such case, or the request is none.
    """
    from headgate_control.policy.cases import case_of, load_cases
    from headgate_control.server.wire import parse_evaluation

    if request is not None:
        return case_of(parse_evaluation(_json_of(request)), approved)
    if folder is None:
        message = f"--case {name!r}: of which folder? Give it, or set policy.dir"
        raise ConfigError(message)
    cases = [case for file in load_cases(folder).values() for case in file.cases]
    found = next((case for case in cases if case.name == name), None)
    if found is None:
        known = "; ".join(case.name for case in cases) or "there is none"
        message = f"no case {name!r} in {folder / 'tests'}; known are: {known}"
        raise ConfigError(message)
    return found


def _json_of(place: str) -> object:
    import json

    from headgate_console.errors import about_file

    try:
        if place == "-":
            return json.loads(sys.stdin.read(REQUEST_BYTES_MAX))
        with Path(place).open(encoding="utf-8") as file:
            return json.loads(file.read(REQUEST_BYTES_MAX))
    except OSError as error:
        raise ConfigError(about_file(error)) from error
    except (ValueError, RecursionError) as error:
        message = f"--request {place}: no JSON: {error}. Expected an object with subject, action and resource"
        raise ConfigError(message) from error


def _explained(
    engine: "PolicyEngine", case: "Case", manifest: Path | None, directory: "Directory | None"
) -> "Explanation":
    """A case taken apart; with a directory, that one stands in place of its own."""
    from dataclasses import replace

    from headgate_control.manifests.load import load_manifest
    from headgate_control.policy.explain import explain as explained
    from headgate_control.policy.trial import setting

    grant = load_manifest(manifest, {}) if manifest is not None else None
    tried = setting(case, engine, grant=grant)
    snapshot = tried.snapshot if directory is None else replace(tried.snapshot, directory=directory)
    return explained(tried.request, snapshot, tried.whole_moment())


def _granted(context: typer.Context, files: Sequence[Path]) -> "Callable[[Recorded], Grant | None]":
    """The manifest of a call: the first that names nothing that the call's record does not."""
    from headgate_console.cli.manifest import profiles_of
    from headgate_control.manifests.load import load_manifest

    known = profiles_of(context, None)
    grants = [load_manifest(file, known) for file in files]

    def granted(call: "Recorded") -> "Grant | None":
        for grant in grants:
            told = grant.metadata.model_dump(include={"team", "workflow", "repo", "task_class"}, exclude_none=True)
            if all(call.row.get(name) == value for name, value in told.items()):
                return grant
        return None

    return granted


def _show(to: Screen, report: "Report", *, as_json: bool) -> None:
    causes = [{**row, "cost_usd": _usd(row.pop("nano_usd"))} for row in map(dict, report.rows())]
    if as_json:
        counts = {"calls": report.calls, "denied": report.denied, "approvals": report.approvals}
        counts |= {
            "calls_denied_then": report.denied_then,
            "sessions": len(report.sessions),
            "sessions_denied": len(report.denied_sessions),
        }
        counts |= {"instances": len(report.instances), "instances_without_manifest": len(report.ungranted)}
        counts |= {"calls_unpriced": report.unpriced, "calls_without_arguments": report.without_arguments}
        to.json([{**counts, "rows_unreadable": report.unreadable, "causes": causes}])
        return
    denied = f"{report.denied:,} denied, {report.approvals:,} after an approval"
    of = f"{len(report.denied_sessions):,} of {plural(len(report.sessions), 'session')}"
    to.show([f"{plural(report.calls, 'call')}: {denied}; {of} would have met one."])
    if causes:
        to.table(_CAUSES, causes)
    for count, told in (
        (
            len(report.ungranted),
            f"of {plural(len(report.instances), 'instance')} have no manifest here: all is granted",
        ),
        (report.denied_then, "of the calls were denied when they happened; they are tried like the others"),
        (report.without_arguments, "tool calls have no recorded arguments: no policy sees any"),
        (report.unpriced, "calls have no known cost: they are in no sum and no budget"),
        (report.unreadable, "rows name no model or tool: left out"),
    ):
        if count:
            to.say(f"{count:,} {told}.")


def _usd(nano_usd: int) -> Decimal:
    return (Decimal(nano_usd) / 1_000_000_000).quantize(Decimal("1.000000000"))
