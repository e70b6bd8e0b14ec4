"""A manifest made of what was used: nothing that was not, and a comment at each entry that says where it comes from.

It is a beginning. What a shorter history did not need is refused under it, so it is read before it is used.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

import yaml

from headgate_control.budgets.amount import NANO_USD, Amount
from headgate_control.manifests.folders import folders
from headgate_control.manifests.globs import PATTERN_CHARS_MAX, settled_path
from headgate_control.manifests.rulings import is_shell
from headgate_control.manifests.spec import ENTRIES_MAX
from headgate_control.manifests.used import Seen, SeenTool, Used
from headgate_control.policy.history import COMMAND_KEYS, PATH_KEYS

FEW_VALUES = 3
CALLS_TO_NARROW = 5
LINES_OF_ONE_PROGRAM = 3
VALUE_CHARS_MAX = 200
_REDACTED = "[REDACTED"
_CENT = Decimal("0.01")
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """The text of a manifest, and a sentence for each thing that was used and cannot be granted."""

    text: str
    left_out: tuple[str, ...]


def suggest(used: Used, *, workflow: str, margin: Decimal) -> Suggestion:
    """The narrowest manifest that grants what was used; budgets are the 99th percentile times `margin`.

    A budget is never below the most that was spent.
    """
    left_out: list[str] = []
    lines = [
        f"# Made of {_count(used.calls, 'recorded call')} in {_count(len(used.sessions), 'session')}.",
        "# Read it before you use it: what was not used then is refused.",
        *([f"# Not granted: what was denied then, {_count(used.denied, 'call')}."] if used.denied else []),
        "# Not recorded, so not granted: credentials, memory, agents, artifacts.",
        "apiVersion: headgate.dev/v1",
        "kind: AgentManifest",
        f"metadata: {_flow(_metadata(used, workflow))}",
        "spec:",
        *_models(used),
        *_section("tools", [_tool(*item) for item in sorted(used.tools.items(), key=_tool_order)], left_out),
        *_filesystem(used, left_out),
        *_section("commands", list(_commands(used.names("proc.exec"), left_out)), left_out),
        *_section("network", [(name, seen) for name, seen in sorted(used.names("net.connect").items())], left_out),
        *_budget(used, margin),
    ]
    if used.forgotten:
        left_out.append(f"{used.forgotten} requests for names beyond the first 20,000 of their kind were not looked at")
    body = "\n".join(lines)
    return Suggestion(text=(body + " {}" if lines[-1] == "spec:" else body) + "\n", left_out=tuple(left_out))


Entry = tuple[Any, Seen]


def _metadata(used: Used, workflow: str) -> Mapping[str, str]:
    found = {"name": _NAME.sub("-", workflow).strip("-._")[:128] or "suggested"}
    for trait in ("team", "workflow", "repo"):
        values = used.traits.get(trait, set())
        if len(values) == 1 and (value := next(iter(values))) is not None:
            found[trait] = value
    return found


def _models(used: Used) -> Iterator[str]:
    entries = []
    for name, seen in sorted(used.names("model.call").items()):
        provider, _, model = name.partition("/")
        entries.append(({"provider": provider, "model": model}, seen))
    yield from _section("models", entries, [])


def _tool_order(item: tuple[tuple[str | None, str], SeenTool]) -> tuple[str, str]:
    (server, tool), _ = item
    return server or "", tool


def _tool(key: tuple[str | None, str], seen: SeenTool) -> Entry:
    server, tool = key
    rule: dict[str, Any] = {"tool": tool} if server is None else {"mcp_server": server, "tool": tool}
    narrowed = {name: _argument(name, seen) for name in sorted(seen.values)}
    arguments = {name: wanted for name, wanted in narrowed.items() if wanted is not None}
    return ({**rule, "arguments": arguments} if arguments else rule), seen


def _argument(name: str, seen: SeenTool) -> Mapping[str, Any] | None:
    """What an argument may be, where enough calls have shown it; None leaves it free."""
    values = seen.values[name]
    if values is None or seen.with_arguments < seen.calls or seen.given[name] < CALLS_TO_NARROW:
        return None
    texts = [value for value in values if isinstance(value, str)]
    if any(_REDACTED in text or len(text) > VALUE_CHARS_MAX for text in texts):
        return None
    if name in PATH_KEYS and len(texts) == len(values) and all(settled_path(text) for text in texts):
        return {"path": folders(texts)}
    if name in COMMAND_KEYS or len(values) > FEW_VALUES:
        return None
    return {"one_of": sorted(values, key=lambda value: (str(type(value)), value))}


def _filesystem(used: Used, left_out: list[str]) -> Iterator[str]:
    files = {"read": used.names("file.read"), "write": used.names("file.write")}
    if not any(files.values()):
        return
    yield "  filesystem:"
    for mode, names in files.items():
        out = sorted(path for path in names if settled_path(path) is None)
        left_out += [
            f"filesystem.{mode}: {path!r} leads out of where it begins, so nothing can grant it" for path in out
        ]
        grants = folders(names)
        if grants:
            calls = sum(seen.calls for seen in names.values())
            yield f"    {mode}: {_flow(grants)}  # {_count(calls, 'call')} on {_count(len(names), 'file')}"


def _commands(names: Mapping[str, Seen], left_out: list[str]) -> Iterator[Entry]:
    """Lines with operators of the shell word for word; of a program with many lines, any."""
    programs: dict[str, dict[str, Seen]] = {}
    for line, seen in sorted(names.items()):
        whole = line.strip()
        if not is_shell(whole):
            plain = " ".join(whole.split())
            programs.setdefault(plain.partition(" ")[0], {}).setdefault(plain, seen)
        elif len(whole) > PATTERN_CHARS_MAX:
            left_out.append(
                f"commands: a line of {len(whole)} characters with operators of the shell: too long to grant"
            )
        else:
            yield whole, seen
    for program, lines in sorted(programs.items()):
        if len(lines) <= LINES_OF_ONE_PROGRAM and all(0 < len(line) <= PATTERN_CHARS_MAX for line in lines):
            yield from lines.items()
        elif program and len(program) < PATTERN_CHARS_MAX - 2:
            yield f"{program} *", _together(seen for line, seen in lines.items() if line != program)
            yield from ((line, seen) for line, seen in lines.items() if line == program)
        else:
            left_out.append(f"commands: {_count(len(lines), 'line')} whose program is empty or too long to be named")


def _together(several: Iterable[Seen]) -> Seen:
    found = Seen()
    for seen in several:
        found.calls += seen.calls
        found.sessions |= seen.sessions
    return found


def _section(name: str, entries: Sequence[Entry], left_out: list[str]) -> Iterator[str]:
    if not entries:
        return
    if len(entries) > ENTRIES_MAX:
        left_out.append(f"{name}: {len(entries) - ENTRIES_MAX} entries of the fewest calls; {ENTRIES_MAX} are allowed")
        entries = sorted(entries, key=lambda entry: -entry[1].calls)[:ENTRIES_MAX]
    yield f"  {name}:"
    for entry, seen in entries:
        sessions = _count(len(seen.sessions), "session")
        yield f"    - {_flow(entry)}  # {_count(seen.calls, 'call')} in {sessions}"


def _budget(used: Used, margin: Decimal) -> Iterator[str]:
    spent = list(used.spent.values())
    if not spent:
        return
    parts: dict[str, str] = {}
    usd = _ceiling([Decimal(one.nano_usd) / NANO_USD for one in spent], margin, _CENT)
    if usd:
        parts["usd"] = str(usd)
    for unit, values in (("tokens", [one.tokens for one in spent]), ("calls", [one.calls for one in spent])):
        if any(values):
            parts[unit] = str(_ceiling(list(map(Decimal, values)), margin, Decimal(1)))
    priced = f"; {_count(used.unpriced, 'call')} had no known cost" if used.unpriced else ""
    of = f"{_count(len(spent), 'instance')} that spent {_most(spent)} at most"
    yield f"  # The 99th percentile of {of}, times {margin}{priced}."
    written = ", ".join(f"{unit}: {value}" for unit, value in parts.items())
    yield f"  budgets: [{{scope: instance, window: total, {written}, mode: hard}}]"


def _ceiling(values: Sequence[Decimal], margin: Decimal, step: Decimal) -> Decimal:
    ordered = sorted(values)
    percentile = ordered[-(-99 * len(ordered) // 100) - 1]
    return (max(percentile * margin, ordered[-1]) / step).to_integral_value(ROUND_CEILING) * step


def _most(spent: Iterable[Amount]) -> str:
    most = max(one.nano_usd for one in spent)
    return f"${Decimal(most) / NANO_USD:.4f}"


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text: str = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, sort_keys=False, width=1 << 30)
    return text.strip()[1:-1]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
