"""`headgate token`: who may send, and as whom."""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, Reason, examples, length, settings
from headgate_console.cli.screen import Screen, screen, utf8_stdout
from headgate_console.errors import CommandError
from headgate_console.render.records import rfc3339
from headgate_console.render.table import Column
from headgate_processors.errors import ConfigError, HeadgateError

if TYPE_CHECKING:
    from headgate_processors.credentials.keystore import KeyStore
    from headgate_processors.credentials.tokens import Credential

HELP = "Make, list and revoke the credentials of whoever sends to Headgate."
CREATE_EXAMPLES = """
    headgate token create --role gateway --name model-gateway --expires 90d
    headgate token create --role collector --file /etc/headgate/collector.token
    headgate token create --role gateway --certificate spiffe://acme.example/gateway/eu-1
"""
LIST_EXAMPLES = """
    headgate token list
    headgate token list --json
"""
REVOKE_EXAMPLES = "headgate token revoke gateway-1a2b3c4d5e6f"
NS_PER_S = 1_000_000_000
_COLUMNS = (
    Column(key="token_id", title="TOKEN ID"),
    Column(key="role", title="ROLE", rank=1),
    Column(key="state", title="STATE"),
    Column(key="name", title="NAME", rank=2, shrink_to=8, hide_when_empty=True),
    Column(key="expires_time", title="EXPIRES", rank=1, format=lambda value: value or "never"),
    Column(key="subject", title="SUBJECT", rank=4, shrink_to=12, hide_when_empty=True),
    Column(key="certificate", title="CERTIFICATE", rank=3, shrink_to=12, hide_when_empty=True),
    Column(key="created_time", title="CREATED", rank=5),
)


def create(
    context: typer.Context,
    role: Annotated[
        str,
        typer.Option(
            metavar="ROLE", help="`client`, `collector`, `gateway`, `runtime`, `control`, `provider`, `admin`."
        ),
    ],
    data: Data = None,
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is for, for people.")] = "",
    subject: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The principal it stands for; an agent's makes its rows `verified`."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long it is good, such as `90d`; by default until revoked.")
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="No token: let in certificates with this SPIFFE id or common name."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the token into FILE (0600) and do not print it.")
    ] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Make a token, print it once, and keep only a digest of it. A running `headgate up` knows it at once."""
    from headgate_processors.credentials.keystore import KeyStore

    if file is not None and certificate is not None:
        message = "--certificate makes no token that --file could hold: give one of them"
        raise ConfigError(message)
    keys = KeyStore(_folder(context, data))
    issued = keys.create(
        _role(role), name=name, subject=subject, lifetime_ns=_lifetime_ns(expires), certificate=certificate
    )
    _note_made(context, data, keys, issued.credential, reason)
    shown = issued.token
    if file is not None and shown is not None:
        _write(file, shown, lambda: _revoked(context, data, issued.credential.token_id, f"{file} cannot be written"))
        shown = None
    row = _row(issued.credential)
    _show(screen(), row if shown is None else {"token_id": row["token_id"], "token": shown, **row}, as_json=as_json)


def list_tokens(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    """List every credential, the last one first; the tokens themselves are kept nowhere."""
    rows = [_row(credential) for credential in _keys(context, data).keys().by_id.values()][::-1]
    to = screen()
    if as_json:
        to.json(rows)
    elif rows:
        to.table(_COLUMNS, rows)
    else:
        to.say("There is no token. Make one: headgate token create --role ROLE")


def revoke(
    context: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `headgate token list` shows it.")],
    data: Data = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """End a credential for good. A running `headgate up` refuses it from its next request on."""
    row = _row(_revoked(context, data, token_id, reason))
    _show(screen(), row, as_json=as_json)


def _note_made(
    context: typer.Context, data: Path | None, keys: "KeyStore", credential: "Credential", reason: str
) -> None:
    """Tell the journal of a new token; one that it cannot be told of is revoked."""
    from headgate_console.control.keeping import note_credential

    try:
        note_credential(settings(context, data=data), credential, action="token.create", reason=reason)
    except HeadgateError as error:
        keys.revoke(credential.token_id)
        message = f"the journal of control cannot be written, so {credential.token_id} was revoked: {error}"
        raise CommandError(message) from error


def _revoked(context: typer.Context, data: Path | None, token_id: str, reason: str) -> "Credential":
    """End a token, and tell the journal; it is over whether that can be told or not."""
    from headgate_console.control.keeping import note_credential

    credential = _keys(context, data).revoke(token_id)
    try:
        note_credential(settings(context, data=data), credential, action="token.revoke", reason=reason)
    except HeadgateError as error:
        message = (
            f"{token_id} is revoked, and the journal of control does not say so, for it cannot be written: {error}"
        )
        raise CommandError(message) from error
    return credential


def _write(file: Path, token: str, take_back: Callable[[], object]) -> None:
    """Put a token into its file; one that nobody has is revoked."""
    from headgate_processors.files import write_whole

    try:
        write_whole(file, token.encode())
    except OSError as error:
        take_back()
        message = (
            f"--file: {file} cannot be written: {error.strerror}. The token was revoked; "
            "name a file in a folder that is there and that you may write to"
        )
        raise CommandError(message) from error


def _show(to: Screen, row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        json.dump(row, utf8_stdout(), ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
        return
    width = max(map(len, row))
    to.show(f"{name:{width}}  {value}" for name, value in row.items() if value not in (None, ""))
    if "token" in row:
        to.say("The token is shown this once. Send it as the header `authorization: Bearer TOKEN`.")


def _row(credential: "Credential") -> dict[str, Any]:
    return {
        "token_id": credential.token_id,
        "role": credential.role,
        "state": credential.state(time.time_ns()),
        "name": credential.name,
        "subject": credential.subject,
        "certificate": credential.certificate,
        "created_time": _time(credential.created_unix_nano),
        "expires_time": _time(credential.expires_unix_nano),
        "revoked_time": _time(credential.revoked_unix_nano),
    }


def _time(unix_nano: int | None) -> str | None:
    if unix_nano is None:
        return None
    return rfc3339(datetime.fromtimestamp(unix_nano // NS_PER_S, UTC))


def _folder(context: typer.Context, data: Path | None) -> Path:
    folder = settings(context, data=data).data
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _keys(context: typer.Context, data: Path | None) -> "KeyStore":
    from headgate_processors.credentials.keystore import KeyStore

    return KeyStore(settings(context, data=data).data)


def _role(role: str) -> Any:
    from headgate_processors.credentials.tokens import ROLES

    if role not in ROLES:
        message = f"--role: {role!r} is none of {', '.join(ROLES)}"
        raise ConfigError(message)
    return role


def _lifetime_ns(expires: str | None) -> int | None:
    from headgate_console.queries.opening import nanoseconds

    if expires is None:
        return None
    lifetime_ns = nanoseconds(length("--expires", expires))
    if not lifetime_ns:
        message = "--expires: a token that is good for no time is good for nothing; leave it out for one without an end"
        raise ConfigError(message)
    return lifetime_ns


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    group.command("create", epilog=examples(CREATE_EXAMPLES))(create)
    group.command("list", epilog=examples(LIST_EXAMPLES))(list_tokens)
    group.command("revoke", epilog=examples(REVOKE_EXAMPLES))(revoke)
    app.add_typer(group, name="token", epilog=examples(CREATE_EXAMPLES))
