"""`headgate audit`: prove that nobody has edited what was decided and changed."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, examples, settings, views
from headgate_console.cli.screen import Screen, screen
from headgate_console.errors import CommandError
from headgate_console.render.numbers import plural
from headgate_console.render.table import Column
from headgate_processors.errors import ConfigError

if TYPE_CHECKING:
    from headgate_console.settings import Settings
    from headgate_control.audit.evidence import Subject
    from headgate_control.audit.heads import Head
    from headgate_control.audit.verify import Verified

HELP = "Prove that nobody has edited what was decided and changed, and hand the proof to others."
VERIFY_EXAMPLES = """
    headgate audit verify
    headgate audit verify --anchor /mnt/elsewhere/heads.json
    headgate audit verify evidence.tar.gz --jwks trusted.json
    headgate audit verify --log /var/lib/headgate-gateway/log
"""
ANCHOR_EXAMPLES = """
    headgate audit anchor > heads.json
"""
EXPORT_EXAMPLES = """
    headgate audit export --session 3f9c1c0b --out evidence.tar.gz
    headgate audit export --stop stop-01KB0EXAMPLE --out evidence.tar.gz
"""
Anchors = Annotated[
    list[Path] | None,
    typer.Option("--anchor", metavar="FILE", help="Heads that were kept elsewhere, by `headgate audit anchor`."),
]
Logs = Annotated[
    Path | None,
    typer.Option("--log", metavar="DIR", help="The logs of a gateway alone, on a machine without control state."),
]


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


_CHAINS = (
    Column(key="kept", title="KEPT IN", style="cyan"),
    Column(key="writer", title="WRITER", shrink_to=12),
    Column(key="number", title="RECORDS", align="right", format=lambda value: f"{value:,}"),
    Column(key="pruned", title="PRUNED", align="right", format=_count, hide_when_empty=True),
    Column(key="anchors", title="HEADS COMPARED", align="right", rank=1),
    Column(key="faults", title="FAULTS", align="right"),
)


def verify(
    context: typer.Context,
    archive: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="An archive of `headgate audit export`; by default the data folder."),
    ] = None,
    data: Data = None,
    logs: Logs = None,
    anchor: Anchors = None,
    jwks: Annotated[
        Path | None, typer.Option("--jwks", metavar="FILE", help="Of an archive: the keys that you trust.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find any record that was edited, dropped or swapped, and say where. Changes nothing.

    Exit code 1 when there is one. `headgate up` may run meanwhile. An archive is verified by itself, on any machine.
    """
    from headgate_control.audit.heads import read_heads

    anchors = [head for file in anchor or [] for head in read_heads(file)]
    if archive is not None:
        if data is not None or logs is not None:
            message = "an archive is verified by itself: leave out --data and --log"
            raise ConfigError(message)
        _verify_archive(archive, jwks, anchors if anchor else None, as_json=as_json)
        return
    if jwks is not None:
        message = "--jwks is for an archive: headgate audit verify FILE --jwks KEYS"
        raise ConfigError(message)
    _show_chains(_verified(context, data, logs, anchors), as_json=as_json)
    if anchor and not as_json:
        _say_compared(len(set(anchors)))


def anchor(context: typer.Context, data: Data = None, logs: Logs = None) -> None:
    """Write the heads of all chains, as JSON. Keep them where nobody who could edit the chains can write.

    Whoever cuts off the end of a chain later is found by `headgate audit verify --anchor`.
    """
    from headgate_console.control.place import Place
    from headgate_console.control.reading import reading
    from headgate_control.audit.heads import heads, heads_text, log_heads

    if logs is not None:
        found = log_heads(_with_logs(logs))
    else:
        chosen = settings(context, data=data)
        with reading(chosen) as store:
            found = heads(store, Place(data=chosen.data).logs)
    screen().show([heads_text(found, at_unix_nano=time.time_ns()).decode().rstrip()])


def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The archive to write, `.tar.gz`.")],
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="A session id, its first digits, or the agent's key.")
    ] = None,
    stop: Annotated[
        str | None, typer.Option("--stop", metavar="ID", help="A stop, as `headgate stops` shows it.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write a signed archive of what happened in a session, or of what became of a stop.

    It holds the timeline, the decisions, the stops and the proof of their chains, and nothing of other sessions.
    """
    from headgate_console.control.place import Place
    from headgate_console.control.reading import KEYS, reading
    from headgate_control.audit import archive
    from headgate_control.identity.signing_keys import SigningKeys

    if (session is None) == (stop is None):
        message = "of what? Give either --session ID or --stop ID"
        raise ConfigError(message)
    chosen = settings(context, data=data)
    place = Place(data=chosen.data)
    subject, rows = _session(chosen, session) if session is not None else _stop(chosen, str(stop))
    with reading(chosen) as store:
        sources = archive.Sources(store=store, logs=place.logs, keys=SigningKeys.open(place.folder / KEYS), rows=rows)
        done = archive.export(subject, sources, out)
    if not done.decisions and not done.stops and not any(rows.values()):
        out.unlink()
        raise CommandError(f"nothing is known of {subject.kind} {subject.id}: see headgate sessions and headgate stops")
    to = screen()
    if as_json:
        to.json([{**asdict(done), "path": str(done.path), "subject": subject.kind, "id": subject.id}])
    else:
        held = f"{plural(done.decisions, 'decision')}, {plural(done.stops, 'stop')}, {plural(done.chains, 'chain')}"
        to.show([f"{out}: {held}, signed by {done.key_id}."])
        to.say(f"Anybody verifies it with: headgate audit verify {out}")


def _session(chosen: "Settings", wanted: str) -> "tuple[Subject, Mapping[str, list[dict[str, Any]]]]":
    """The session, by whatever it is called; one that nothing was ever sent of goes by its own key alone."""
    from headgate_console.queries.evidence import session_rows, trace_ids
    from headgate_control.audit.evidence import Subject
    from headgate_processors.errors import StoreError

    try:
        connection = views(chosen)
        found, rows = session_rows(connection, wanted)
    except (StoreError, CommandError) as error:
        screen().say(f"{str(error).rstrip('.')}. The archive goes by what gateways were told alone.")
        return Subject(kind="session", id=wanted, keys=frozenset({wanted})), {}
    session_id = found["session_id"]
    keys = frozenset({session_id, found["source_key"] or session_id})
    return Subject(kind="session", id=session_id, keys=keys, trace_ids=trace_ids(connection, session_id)), rows


def _stop(chosen: "Settings", stop_id: str) -> "tuple[Subject, Mapping[str, list[dict[str, Any]]]]":
    from headgate_console.queries.evidence import stop_rows
    from headgate_control.audit.evidence import Subject
    from headgate_processors.errors import StoreError

    rows: Mapping[str, list[dict[str, Any]]]
    try:
        rows = stop_rows(views(chosen), stop_id)
    except StoreError as error:
        screen().say(f"{str(error).rstrip('.')}. The archive goes by what gateways were told alone.")
        rows = {}
    cut = frozenset(str(row["decision_id"]) for row in rows.get("model_calls", []) if row["decision_id"])
    return Subject(kind="stop", id=stop_id, decision_ids=cut), rows


def _verified(context: typer.Context, data: Path | None, logs: Path | None, anchors: "list[Head]") -> "Verified":
    from headgate_console.control.place import Place
    from headgate_console.control.reading import reading
    from headgate_control.audit.verify import verify as verify_chains
    from headgate_control.audit.verify import verify_logs

    if logs is not None:
        return verify_logs(_folder(logs) if anchors else _with_logs(logs), anchors)
    chosen = settings(context, data=data)
    with reading(chosen) as store:
        return verify_chains(store, Place(data=chosen.data).logs, anchors)


def _folder(logs: Path) -> Path:
    if not logs.is_dir():
        message = f"--log: {logs} is no folder"
        raise ConfigError(message)
    return logs


def _with_logs(folder: Path) -> Path:
    """The folder where it has a log: none would be whole. Heads that were kept find what is gone."""
    if not any(_folder(folder).glob("*.jsonl")):
        message = f"--log: {folder} has no log; a gateway keeps its own in log/ of its --folder, once it has decided"
        raise ConfigError(message)
    return folder


def _show_chains(found: "Verified", *, as_json: bool) -> None:
    chains = [
        {
            "kept": one.kept,
            "writer": one.writer,
            "number": one.number,
            "pruned": one.pruned or None,
            "digest": one.digest,
            "anchors": one.anchors,
            "faults": len(one.findings),
        }
        for one in found.chains
    ]
    findings, to = [asdict(one) for one in found.all_findings], screen()
    if as_json:
        to.json([{"chains": chains, "findings": findings}])
    else:
        to.table(_CHAINS, chains)
        to.show(_told(one) for one in findings)
        if not findings:
            is_whole = not any(one.pruned for one in found.chains)
            to.show(["Every chain is whole." if is_whole else "Every chain is whole after what was pruned."])
    if findings:
        raise typer.Exit(1)


def _say_compared(count: int) -> None:
    to = screen()
    to.show([f"Heads that were kept elsewhere, and compared: {count:,}."])
    if not count:
        to.say("No record was compared with anything: the heads given are of none. Make others: headgate audit anchor")


def _told(finding: Mapping[str, Any]) -> str:
    of = f" of {finding['writer']}" if finding["writer"] is not None else ""
    number = f", record {finding['number']}{of}" if finding["number"] is not None else ""
    return f"{finding['place']}{number}: {finding['problem']}"


def _verify_archive(archive: Path, jwks: Path | None, anchors: "Iterable[Head] | None", *, as_json: bool) -> None:
    from headgate_control.audit.archive_check import check_archive

    try:
        pinned = jwks.read_bytes() if jwks is not None else None
    except OSError as error:
        message = f"--jwks: cannot read {jwks}: {error.strerror}"
        raise ConfigError(message) from error
    found, to = check_archive(archive, pinned=pinned, anchors=anchors or ()), screen()
    if as_json:
        to.json([asdict(found)])
    else:
        _show_archive(to, archive, asdict(found))
        if anchors is not None and not found.flaws:
            _say_compared(found.compared)
    if found.flaws:
        raise typer.Exit(1)


def _show_archive(to: Screen, archive: Path, found: Mapping[str, Any]) -> None:
    to.show(f"{flaw['member']}: {flaw['problem']}" for flaw in found["flaws"])
    if found["flaws"]:
        return
    about = found["about"]
    to.show([f"{archive}: {about['kind']} {about['id']}, whole, signed by {found['key_id']}."])
    if not found["is_pinned"]:
        to.say("The key is the archive's own: compare its id with one from elsewhere, or give --jwks.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    group.command("verify", epilog=examples(VERIFY_EXAMPLES))(verify)
    group.command("anchor", epilog=examples(ANCHOR_EXAMPLES))(anchor)
    group.command("export", epilog=examples(EXPORT_EXAMPLES))(export)
    app.add_typer(group, name="audit", epilog=examples(VERIFY_EXAMPLES))
