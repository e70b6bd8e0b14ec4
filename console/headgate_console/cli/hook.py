"""`headgate hook`: the command that a coding agent runs before each tool call."""

import os
import sys
from typing import Annotated

import typer

from headgate_console.cli.options import examples

EXAMPLES = """
    headgate hook
    headgate hook --url http://127.0.0.1:7410/hooks/claude-code < call.json
"""
BLOCKED = 2
TIMEOUT_S = 10.0
INPUT_BYTES_MAX = 1 << 20


def hook(
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Control's hook endpoint; HEADGATE_HOOK_URL by default.")
    ] = None,
) -> None:
    """Ask control about the tool call on stdin, and print its answer as Claude Code's PreToolUse hook wants it.

    The key is in HEADGATE_HOOK_KEY. Whatever goes wrong blocks the tool: exit code 2, and why on stderr.
    """
    from headgate_console.control.surroundings import HOOK_KEY, HOOK_URL

    try:
        where, key = url or os.environ.get(HOOK_URL), os.environ.get(HOOK_KEY)
        if not where or not key:
            raise ValueError(f"{HOOK_URL} or {HOOK_KEY} is not set: headgate instance create --env sets both")
        answer = _asked(where, key, sys.stdin.buffer.read(INPUT_BYTES_MAX + 1))
    except Exception as error:  # noqa: BLE001 - whatever it is, the tool may not run
        sys.stderr.write(f"headgate: the tool call could not be decided, so it is blocked: {error}\n")
        raise typer.Exit(BLOCKED) from None
    sys.stdout.write(answer)


def _asked(url: str, key: str, call: bytes) -> str:
    """Control's answer, which is JSON.

    Raises:
        ValueError: the call is too large, or the answer is none.
        OSError: control cannot be reached, or did not answer in time.
    """
    import json
    import urllib.request

    if len(call) > INPUT_BYTES_MAX:
        raise ValueError(f"the call has more than {INPUT_BYTES_MAX} bytes")
    if not url.startswith(("http://", "https://")):
        raise ValueError("the URL of control begins with http:// or https://")
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(url, data=call, headers=headers)  # noqa: S310 - the scheme was looked at
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=TIMEOUT_S) as response:
        text: str = response.read().decode()
    if "hookSpecificOutput" not in json.loads(text):
        raise ValueError("what answered is not control")
    return text


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("hook", epilog=examples(EXAMPLES))(hook)
