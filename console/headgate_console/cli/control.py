"""`headgate control`: keep control state: copies of it, its keys, what it holds."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, examples, length, settings
from headgate_console.cli.screen import screen
from headgate_console.render.numbers import plural, size
from headgate_console.render.records import rfc3339
from headgate_console.render.table import Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_console.control.adopting import Spent
    from headgate_console.control.restoring import PutBack
    from headgate_control.budgets.amount import Amount, Unit
    from headgate_control.stops.stop import Stop

HELP = "Keep control state: copy it, put it back, change its keys, see what it holds."
KEYS_HELP = "The keys that control signs tokens and archives with, and the key of content hashes."
STATUS_EXAMPLES = """
    headgate control status
    headgate control status --json
"""
BACKUP_EXAMPLES = """
    headgate control backup /var/backups/control-2026-11-30.tar.gz
"""
RESTORE_EXAMPLES = """
    headgate control restore /var/backups/control-2026-11-30.tar.gz
    headgate control restore control.tar.gz --data /var/lib/headgate --gateway eu-1/control.json
"""
ADOPT_EXAMPLES = """
    headgate control adopt --reason "control-1 is lost"
    headgate control adopt --reason "control-1 is lost" --json
"""
PRUNE_EXAMPLES = """
    headgate control prune
    headgate control prune --json
"""
LIST_EXAMPLES = """
    headgate control keys list
    headgate control keys list --json
"""
ROTATE_EXAMPLES = """
    headgate control keys rotate
    headgate control keys rotate --overlap 0s
"""
HASH_EXAMPLES = """
    headgate control keys rotate-hash
"""
NS_PER_S = 1_000_000_000
_CHAINS = (
    Column(key="kept", title="KEPT IN", style="cyan"),
    Column(key="writer", title="WRITER", shrink_to=12),
    Column(key="records", title="RECORDS", align="right", format=lambda value: f"{value:,}"),
    Column(key="anchored", title="ANCHORED", align="right", rank=1, format=lambda v: "" if v is None else f"{v:,}"),
)
_KEYS = (
    Column(key="key_id", title="KEY ID", style="cyan"),
    Column(key="state", title="STATE"),
    Column(key="created_time", title="CREATED", rank=2),
    Column(key="good_until_time", title="GOOD UNTIL", rank=1, format=lambda value: value or "rotated"),
)


def status(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    """Say what control state holds, who has it, and which chains there are. Changes nothing."""
    from headgate_console.control.keeping import status_of

    found, to = status_of(settings(context, data=data)), screen()
    if as_json:
        to.json([found])
        return
    held = f" ({size(found['database_bytes'])})" if found["database_bytes"] is not None else ""
    instances = ", ".join(f"{count:,} {state}" for state, count in found["instances"].items()) or "none"
    to.show(
        [
            f"database   {found['database']}{held}",
            f"running    {found['running'] or 'no'}",
            *_holder_lines(found["holder"]),
            f"instances  {instances}",
            f"stops      {found['stops']:,}",
            f"keys       {plural(found['signing_keys'], 'signing key')}",
            *(line for node in found["policies"] for line in _policy_lines(node)),
            "",
        ]
    )
    to.table(_CHAINS, found["chains"])


def _policy_lines(node: "Mapping[str, Any]") -> list[str]:
    """What a node decides by, and what is wrong with what it does not."""
    lines = [f"policies   {node['policies']:,} of {node['node']}, {node['digest'][:19]}…"]
    if refused := node["refused"]:
        lines += [f"REFUSED    {line}" for line in refused["problem"].splitlines()]
    return lines


def _holder_lines(holder: dict[str, Any] | None) -> list[str]:
    """Who holds a database that several machines reach, or did when it was killed."""
    if holder is None:
        return []
    return [f"holder     {holder['data']} on {holder['host']} since {holder['since']}"]


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes; not there yet.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Copy control state as it is at this moment, while it is written: records, journal, logs, keys, tokens' digests.

    The file holds private keys: its owner alone may read it, so keep it as you keep these.
    """
    from headgate_console.control.keeping import kept_of
    from headgate_control.store.backup import back_up

    chosen, to = settings(context, data=data), screen()
    done = back_up(chosen.data, kept_of(chosen), file)
    if as_json:
        to.json([{"file": str(file), "files": done.files, "bytes": done.bytes}])
    else:
        to.show([f"{file}: {plural(done.files, 'file')}, {size(done.bytes)}."])


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `headgate control backup` wrote.")],
    gateways: Annotated[
        list[Path] | None,
        typer.Option("--gateway", metavar="FILE", help="The control.json of a gateway elsewhere: it knows stops too."),
    ] = None,
    forget_later: Annotated[
        bool, typer.Option("--forget-later", help="Let what was stopped and revoked since the copy was made run again.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Put control state back. Nothing may run on the folder; every chain of the copy is verified first.

    What is there is set aside. Stops and revocations since the copy was made are looked for there, in the views and in
    what gateways know; they hold on, and are named. What was granted or spent since is not in it.
    """
    from headgate_console.control.restoring import put_back

    chosen, to = settings(context, data=data), screen()
    done = put_back(chosen, file, gateways=gateways or [], keep=not forget_later)
    made = _time(done.restored.created_unix_nano)
    if as_json:
        to.json([_restored_row(done, made)])
        return
    to.show(
        [
            f"{plural(done.restored.files, 'file')} of {made} put back. Stops go on from epoch {done.carried.epoch:,}.",
            *(f"{path} is what was there." for path in done.restored.set_aside),
            *_later_lines(done),
        ]
    )
    for problem in done.unread:
        to.say(f"{problem}: stops that only it knows of are not in what was put back.")
    to.say(f"Grants and spending since {made} are not in it: look through them before `headgate up`.")


def adopt(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the journal.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Begin the books of budgets of a PostgreSQL database anew in this data folder, where those it had are lost.

    No control may run on the database. What the store here was told of budgets counts as spent, and so does what was
    reserved. What nobody here knows of counts from zero. The folder that had the books is refused from now on.
    """
    from headgate_console.control.adopting import adopt as take

    chosen, to = settings(context, data=data), screen()
    done = take(chosen, reason=reason)
    if as_json:
        to.json([{**asdict(done), "spent": [_spent_row(one) for one in done.spent]}])
        return
    was = "" if done.before is None else f", and no more in {done.before['data']} on {done.before['host']}"
    to.show(
        [
            f"The books of this control database are kept in {chosen.data} from now on{was}.",
            *(
                f"{budget_id}: {_spent_text(amount)} spent, as the store here knows."
                for budget_id, _, amount in done.spent
            ),
            *(f"{budget_id}: nothing is known of it here; IT COUNTS FROM ZERO." for budget_id in done.from_zero),
        ]
    )
    if done.unread is not None:
        to.say(f"The store here could not be asked what was spent: {done.unread}")


def _spent_row(spent: "Spent") -> dict[str, object]:
    budget_id, turn, amount = spent
    return {"budget_id": budget_id, "turn": turn, **asdict(amount)}


def _spent_text(amount: "Amount") -> str:
    from headgate_control.budgets.amount import shown

    units: tuple[Unit, ...] = ("usd", "tokens", "calls", "seconds")
    return ", ".join(shown(unit, amount.of(unit)) for unit in units if amount.of(unit)) or "nothing"


def prune(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    """Take away what is older than `control.retention`: whole files of logs, and the beginning of the journal.

    `headgate up` does so once a day. Only what the store has goes; the journal says up to where, and `headgate audit
    verify` proves the rest from there on.
    """
    from headgate_console.control.pruning import prune as take_away

    done, to = take_away(settings(context, data=data)), screen()
    if as_json:
        to.json([{"files": done.files, "events": done.events, "told": done.told, "kept": done.kept}])
        return
    to.show(
        [
            f"{plural(len(done.files), 'file')} of logs and {plural(done.events, 'event')} of the journal taken away.",
            *(f"{name} is gone." for name in done.files),
        ]
    )
    for problem in done.kept:
        to.say(f"{problem}.")


def _restored_row(done: "PutBack", made: Any) -> dict[str, object]:
    from headgate_control.server.stop_routes import shown_stop

    return {
        "files": done.restored.files,
        "created_time": made,
        "set_aside": [str(path) for path in done.restored.set_aside],
        "epoch": done.carried.epoch,
        "kept": done.carried.kept,
        "stops_not_in_copy": [shown_stop(stop) for stop in done.carried.missing],
        "stops_ended_since": [shown_stop(stop) for stop in done.carried.ended],
        "instances_revoked_since": list(done.carried.revoked),
        "tokens_revoked_since": list(done.tokens),
        "unread": list(done.unread),
    }


def _later_lines(done: "PutBack") -> list[str]:
    """What happened after the copy was made, and what holds of it now."""
    carried = done.carried
    holds, over = ("holds on", "revoked again") if carried.kept else ("IS FORGOTTEN", "GOOD AGAIN")
    return [
        *(f"not in the copy: {_named(stop)} ({stop.reason}); it {holds}." for stop in carried.missing),
        *(
            f"ended since the copy was made: {_named(stop)}; it holds again until: headgate resume {stop.key[0]} "
            f"{stop.key[1]}".rstrip()
            for stop in carried.ended
        ),
        *(f"ended since the copy was made: instance {one}; {over}." for one in carried.revoked),
        *(f"revoked since the copy was made: token {one}; {over}." for one in done.tokens),
    ]


def _named(stop: "Stop") -> str:
    return f"{stop.mode} of {' '.join(stop.key).strip()}"


def list_keys(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    """List every key that control ever signed with, the newest first; private halves are shown nowhere."""
    from headgate_console.control.keeping import signing_keys

    now, to = time.time_ns(), screen()
    rows = [
        {
            "key_id": key.key_id,
            "state": key.state(now),
            "created_time": _time(key.created_unix_nano),
            "good_until_time": None if key.good_until_unix_nano is None else _time(key.good_until_unix_nano),
        }
        for key in signing_keys(settings(context, data=data)).ring().keys
    ]
    if as_json:
        to.json(rows)
    else:
        to.table(_KEYS, rows)


def rotate(
    context: typer.Context,
    data: Data = None,
    overlap: Annotated[
        str,
        typer.Option(metavar="TIME", help="How long what the old key signed stays good; `0s` where it was stolen."),
    ] = "24h",
    as_json: Json = False,
) -> None:
    """Sign with a new key from now on. A running `headgate up` does so at once."""
    from headgate_console.control.keeping import SIGNING_KEY, note, signing_keys

    chosen, to = settings(context, data=data), screen()
    overlap_ns = int(length("--overlap", overlap).total_seconds() * NS_PER_S)
    made = signing_keys(chosen).rotate(overlap_ns=overlap_ns)
    note(chosen, SIGNING_KEY, made.key_id, action="keys.rotate")
    if as_json:
        to.json([{"key_id": made.key_id, "created_time": _time(made.created_unix_nano)}])
    else:
        before = f"good for {overlap}" if overlap_ns else "refused"
        to.show([f"{made.key_id} signs from now on; what was signed before is {before}."])


def rotate_hash(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    """Hash contents with a new key, from the next start of `headgate up` on.

    Equal contents before and after have different hashes; `hash_key_id` in each row says which key it was.
    """
    from headgate_console.control.keeping import HASH_KEY, note
    from headgate_processors.enrich.hashing import HashKey

    chosen, to = settings(context, data=data), screen()
    made = HashKey.rotate(chosen.data)
    note(chosen, HASH_KEY, made.key_id, action="keys.rotate-hash")
    if as_json:
        to.json([{"hash_key_id": made.key_id}])
    else:
        to.show([f"{made.key_id} is the hash key from the next start of each receiver on. Copy keys/ to all of them."])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    group.command("status", epilog=examples(STATUS_EXAMPLES))(status)
    group.command("backup", epilog=examples(BACKUP_EXAMPLES))(backup)
    group.command("restore", epilog=examples(RESTORE_EXAMPLES))(restore)
    group.command("adopt", epilog=examples(ADOPT_EXAMPLES))(adopt)
    group.command("prune", epilog=examples(PRUNE_EXAMPLES))(prune)
    keys = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=KEYS_HELP)
    keys.command("list", epilog=examples(LIST_EXAMPLES))(list_keys)
    keys.command("rotate", epilog=examples(ROTATE_EXAMPLES))(rotate)
    keys.command("rotate-hash", epilog=examples(HASH_EXAMPLES))(rotate_hash)
    group.add_typer(keys, name="keys", epilog=examples(ROTATE_EXAMPLES))
    app.add_typer(group, name="control", epilog=examples(STATUS_EXAMPLES))


def _time(unix_nano: int) -> Any:
    return rfc3339(datetime.fromtimestamp(unix_nano // NS_PER_S, UTC))
