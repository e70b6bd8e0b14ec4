"""The `PreToolUse` hook of Claude Code: what a tool call asks for, and the answer in the hook's own shape.

One call may be several requests: a shell command is the tool and the command, an edit the tool and the file. All of
them must be allowed.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any
from urllib.parse import urlsplit

from headgate_control.decide.decision import Decision
from headgate_control.request import ActionName, Request, Resource, Subject
from headgate_control.server.wire import WireError

_FILES: Mapping[str, tuple[ActionName, str]] = {
    "Read": ("file.read", "file_path"),
    "Grep": ("file.read", "path"),
    "LS": ("file.read", "path"),
    "NotebookRead": ("file.read", "notebook_path"),
    "Edit": ("file.write", "file_path"),
    "MultiEdit": ("file.write", "file_path"),
    "Write": ("file.write", "file_path"),
    "NotebookEdit": ("file.write", "notebook_path"),
}
_SHELLS = frozenset({"Bash", "PowerShell"})
_WILD = frozenset("*?[{")
_PORTS = {"http": 80, "https": 443}


def parse_hook(body: object, subject: Subject) -> list[Request]:
    """What the call of a hook asks for, the tool itself first.

    Raises:
        WireError: it is no call of `PreToolUse`.
    """
    if not isinstance(body, Mapping) or body.get("hook_event_name") != "PreToolUse":
        raise WireError("expected the body of a PreToolUse hook")
    name, given = body.get("tool_name"), body.get("tool_input")
    if not isinstance(name, str) or not name or not isinstance(given, Mapping):
        raise WireError("tool_name: expected text, and tool_input: expected an object")
    context = {"input": given, "session": body.get("session_id"), "tool_use_id": body.get("tool_use_id")}
    return [
        Request(subject=subject, action=action, resource=resource, context=context)
        for action, resource in (_tool(name), *_parts(name, given, body.get("cwd")))
    ]


def answer(decisions: Sequence[Decision]) -> dict[str, Any]:
    """The hook's answer: the first decision that is no allow counts. A stop ends the agent's turn too."""
    worst = next((one for one in decisions if not one.allowed), decisions[0])
    said = {"allow": "allow", "modify": "allow", "require_approval": "ask", "deny": "deny"}[worst.effect]
    output: dict[str, Any] = {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": said,
            "permissionDecisionReason": worst.reason,
        }
    }
    if worst.code == "stopped":
        # Beside the deny: `continue` alone lets the tool run first.
        output |= {"continue": False, "stopReason": worst.reason}
    return output


def _tool(name: str) -> tuple[ActionName, Resource]:
    if name.startswith("mcp__"):
        server, _, tool = name.removeprefix("mcp__").partition("__")
        if server and tool:
            return "tools/call", Resource(type="tool", id=tool, properties={"server": server})
    return "tools/call", Resource(type="tool", id=name)


def _parts(name: str, given: Mapping[str, Any], cwd: object) -> Iterator[tuple[ActionName, Resource]]:
    """What a built-in tool does beyond being called. An argument that is missing is asked for as nothing at all.

    Of a tool that is not known, a command is run, an address called and a file written: it may well do that.
    """
    if name.startswith("mcp__"):
        return
    if name in _SHELLS or isinstance(given.get("command"), str):
        yield "proc.exec", Resource(type="command", id=str(given.get("command", "")))
    if name == "Glob":
        yield "file.read", Resource(type="file", id=_inside(_searched(given), cwd))
    elif name in _FILES:
        action, key = _FILES[name]
        yield action, Resource(type="file", id=_inside(str(given.get(key) or "."), cwd))
    elif isinstance(path := given.get("file_path"), str):
        yield "file.write", Resource(type="file", id=_inside(path, cwd))
    if name == "WebFetch" or isinstance(given.get("url"), str):
        yield "net.connect", Resource(type="host", id=_endpoint(str(given.get("url", ""))))


def _searched(given: Mapping[str, Any]) -> str:
    """The folder that a pattern of files looks into; nothing at all where the pattern leads out behind a wildcard."""
    pattern, path = str(given.get("pattern") or ""), str(given.get("path") or ".")
    segments = (pattern if pattern.startswith(("/", "~")) else f"{path}/{pattern}").split("/")
    plain = list(takewhile(_WILD.isdisjoint, segments))
    if any(".." in segment for segment in segments[len(plain) :]):
        return ""
    return "/".join(plain) or "/"


def _inside(path: str, cwd: object) -> str:
    """A path from the working folder on, where it lies below it. Whose home `~` is nobody says: it is outside."""
    if path.startswith("~"):
        return "/" + path
    if isinstance(cwd, str) and cwd.startswith("/") and (path == cwd or path.startswith(cwd.rstrip("/") + "/")):
        return "." + path[len(cwd.rstrip("/")) :]
    return path


def _endpoint(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.hostname}:{port}" if parts.hostname and port else ""
