"""`headgate instance create | list | show | revoke`: the agents that are registered."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, Reason, examples, length, settings
from headgate_console.cli.screen import screen, utf8_stdout
from headgate_console.render.records import plain, with_times
from headgate_console.render.table import Column
from headgate_processors.errors import ConfigError

if TYPE_CHECKING:
    from headgate_console.settings import Settings

HELP = "Register agents, give them their keys, and see who started them, what they may do and what they did."
CREATE_EXAMPLES = """
    headgate instance create --manifest fixer.yaml --user ada
    eval "$(headgate instance create --manifest fixer.yaml --env)"
    headgate instance create --manifest fixer.yaml --expires 8h --json
"""
LIST_EXAMPLES = """
    headgate instance list
    headgate instance list --json
"""
SHOW_EXAMPLES = """
    headgate instance show ai-01KB0EXAMPLE
    headgate instance show ai-01KB0 --json
"""
REVOKE_EXAMPLES = 'headgate instance revoke ai-01KB0EXAMPLE --reason "done"'
NS_PER_S = 1_000_000_000
STATES = ("created", "running", "paused", "stopped", "expired", "ended", "revoked")
_COLUMNS = (
    Column(key="instance_id", title="INSTANCE", style="cyan"),
    Column(key="state", title="STATE"),
    Column(key="workflow", title="WORKFLOW", shrink_to=8, format=lambda value: value or "–"),
    Column(key="team", title="TEAM", rank=1, shrink_to=8, format=lambda value: value or "–"),
    Column(key="launched_by", title="LAUNCHED BY", rank=2, shrink_to=8, format=lambda value: value or "–"),
    Column(key="parent", title="PARENT", rank=3, hide_when_empty=True, format=lambda value: value or ""),
    Column(key="manifest_digest", title="MANIFEST", rank=4, shrink_to=18),
)


def create(
    context: typer.Context,
    manifest: Annotated[Path, typer.Option("--manifest", metavar="FILE", help="What it may do.")],
    user: Annotated[str | None, typer.Option(metavar="NAME", help="For whom it works.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="ID", help="The instance that launches it.")] = None,
    restart_of: Annotated[
        str | None, typer.Option("--restart-of", metavar="ID", help="The instance whose work it takes up again.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", metavar="NAME", help="Where it works, such as `production`.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long it may act, such as `8h`; by default until revoked.")
    ] = None,
    as_env: Annotated[
        bool, typer.Option("--env", help="Print `export` lines for the agent's shell, and no more.")
    ] = False,
    reason: Reason = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Register an agent and print its key, its token, and the environment that points it here.

    The key goes where the provider's own key would go. Both are shown this once.
    """
    from headgate_console.control.client import control_client
    from headgate_console.control.surroundings import export_lines

    chosen = settings(context, data=data)
    lifetime_ns = None if expires is None else int(length("--expires", expires).total_seconds() * NS_PER_S)
    body = {
        "manifest": _text(manifest),
        "source": str(manifest),
        "user": user,
        "parent": parent,
        "restart_of": restart_of,
        "environment": environment,
        "lifetime_ns": lifetime_ns,
        "reason": reason,
    }
    made = control_client(chosen).post("/v1/instances", body=body)
    variables = _environment(chosen, made)
    to = screen()
    for sentence in made["without_effect"]:
        to.say(f"without effect: {sentence}")
    if as_env:
        to.show(export_lines(variables))
    elif as_json:
        _write({**made, "environment": variables})
    else:
        to.show(f"{name:16}  {made[name]}" for name in ("instance_id", "gateway_key", "telemetry_token"))
        to.show(["", *export_lines(variables)])
        to.say("Key and token are shown this once. With --env the lines alone are printed, for eval in a shell.")


def list_instances(
    context: typer.Context,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help=f"Only those in this state: {', '.join(STATES)}.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List every instance, the last one first."""
    from headgate_console.control.client import control_client

    if state is not None and state not in STATES:
        message = f"--state: no instance is ever {state!r}; expected one of {', '.join(STATES)}"
        raise ConfigError(message)
    found = control_client(settings(context, data=data)).get("/v1/instances")["instances"]
    rows = [one for one in found if state is None or one["state"] == state]
    to = screen()
    if as_json:
        to.json([with_times(row) for row in rows])
    elif rows:
        to.table(_COLUMNS, [{column.key: None for column in _COLUMNS} | row for row in rows])
    elif found:
        to.say(f"No instance is {state}. See all of them: headgate instance list")
    else:
        to.say("There is no instance. Register one: headgate instance create --manifest FILE")


def show(
    context: typer.Context,
    instance: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Who started it, what it may do, what it touched and spent, which decisions it met, and how to stop it."""
    from headgate_console.control.client import control_client
    from headgate_console.queries.instance import acts
    from headgate_console.render.instance import told

    chosen = settings(context, data=data)
    record = control_client(chosen).get("/v1/instances/{}", instance)
    found = {**record, **acts(chosen, record["instance_id"])}
    if as_json:
        _write(found)
    else:
        to = screen()
        to.show(told(found, width=to.width))


def revoke(
    context: typer.Context,
    instance: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the journal.")] = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """End an instance and its keys for good."""
    from headgate_console.control.client import control_client

    row = control_client(settings(context, data=data)).post(
        "/v1/instances/{}/revoke", instance, body={"reason": reason}
    )
    if as_json:
        _write(row)
    else:
        screen().show([f"{row['instance_id']} is {row['state']}; its keys are refused from now on."])


def _environment(chosen: "Settings", made: dict[str, Any]) -> Any:
    from headgate_console.control.place import Place
    from headgate_console.control.surroundings import agent_environment

    place = Place(data=chosen.data)
    return agent_environment(
        instance_id=made["instance_id"],
        gateway_key=made["gateway_key"],
        telemetry_token=made["telemetry_token"],
        control=place.url("control") or chosen.control.listen,
        gateway=place.url("model") or chosen.gateways.model.listen,
        otlp=place.addresses().get("otlp", chosen.receiver.http),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        message = f"--manifest: {path} cannot be read: {why}"
        raise ConfigError(message) from error


def _write(row: dict[str, Any]) -> None:
    utf8_stdout().write(json.dumps(plain(with_times(row)), ensure_ascii=False, indent=2) + "\n")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    group.command("create", epilog=examples(CREATE_EXAMPLES))(create)
    group.command("list", epilog=examples(LIST_EXAMPLES))(list_instances)
    group.command("show", epilog=examples(SHOW_EXAMPLES))(show)
    group.command("revoke", epilog=examples(REVOKE_EXAMPLES))(revoke)
    app.add_typer(group, name="instance", epilog=examples(CREATE_EXAMPLES))
