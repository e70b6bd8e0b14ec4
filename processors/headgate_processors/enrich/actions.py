"""What a tool call did: its action, what it touched, how sensitive that is, and whether it can be undone.

Rules are data (`rules/actions.yaml` and a site's own file). Where no rule speaks the answer is None,
and where a rule leaves something out that field is None: unknown is never guessed.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from headgate_processors.enrich._action_rules import (
    ActionName,
    ActionTable,
    Hosts,
    PathSensitivity,
    SideEffects,
    ToolRule,
    strictest,
)
from headgate_processors.enrich._commands import Commands, Finding, host_of
from headgate_processors.enrich._sql import looks_like_sql, strongest_statement
from headgate_processors.enrich.canonical import canonical_arguments, canonical_json

CACHED_TOOLS_MAX = 4096
CACHED_CALLS_MAX = 8192
CACHED_CALL_BYTES_MAX = 2048
RESOURCE_CHARS_MAX = 200
PATHS_MAX = 32

_PREFIX = re.compile(r"^(?:functions|default_api|tools?)[.:/]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_WORD = re.compile(r"[^a-z0-9]+")
_PATCHED = re.compile(
    r"^(?:\*\*\* (?P<verb>Add|Update|Delete) File: |\+\+\+ (?:b/)?)(?P<path>[^\t\r\n]+)", re.MULTILINE
)
_K = TypeVar("_K")
_V = TypeVar("_V")
_READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What one tool call did; a field that is None is unknown.

    `resource` may hold what a person typed (a path, an address, a table): redact it before it is stored.
    """

    action: str
    resource: str | None = None
    sensitivity: str | None = None
    reversible: bool | None = None
    side_effects: str | None = None


class ActionRules:
    """Classifies tool calls; keeps bounded caches, and may be shared between threads."""

    def __init__(self, table: ActionTable) -> None:
        self.version = table.version
        self._rules = table.tools
        self._paths = PathSensitivity(table.paths)
        self._hosts = Hosts(table.hosts)
        self._commands = Commands(table, self._paths, self._hosts)
        self._by_tool: OrderedDict[tuple[str, str | None, str | None], tuple[ToolRule, ...]] = OrderedDict()
        self._by_call: OrderedDict[tuple[str, str | None, str | None, bytes], Action | None] = OrderedDict()

    @classmethod
    def load(cls, site: Path | None = None) -> "ActionRules":
        """The packaged rules, with those of a site's file before them.

        Raises:
            ConfigError: the site's file is missing or wrong.
        """
        return cls(ActionTable.load(site))

    def classify(
        self, tool: str, arguments: object | None, *, mcp_server: str | None = None, tool_type: str | None = None
    ) -> Action | None:
        """What a call did, by tool name and arguments (values or text in any dialect); None without a rule."""
        canonical = canonical_arguments(arguments)
        return self.classify_canonical(
            tool, canonical, canonical_json(canonical), mcp_server=mcp_server, tool_type=tool_type
        )

    def classify_canonical(
        self, tool: str, canonical: object, written: bytes, *, mcp_server: str | None, tool_type: str | None
    ) -> Action | None:
        """As `classify`, of arguments that are canonical already; `written` is their canonical JSON."""
        rules = self._candidates(tool, mcp_server, tool_type)
        if not rules:
            return None
        if len(written) > CACHED_CALL_BYTES_MAX:
            return self._classified(rules, canonical, tool, mcp_server)
        key = (tool, mcp_server, tool_type, written)
        if key in self._by_call:
            return self._by_call[key]
        action = self._classified(rules, canonical, tool, mcp_server)
        _remember(self._by_call, key, action, CACHED_CALLS_MAX)
        return action

    def title(self, action: Action | None, tool: str) -> str:
        """One line for a timeline, with the names that the host rules give; see `title`."""
        if action is not None and action.action in ("network", "external_action") and action.resource:
            known = self._hosts.of(action.resource)
            if known is not None and known.name:
                return f"called the {known.name} ({action.resource})"
        return title(action, tool)

    def _candidates(self, tool: str, mcp_server: str | None, tool_type: str | None) -> tuple[ToolRule, ...]:
        key = (tool, mcp_server, tool_type)
        known = self._by_tool.get(key)
        if known is not None:
            return known
        server, name = split_tool(tool, mcp_server)
        kind = tool_type or ("mcp" if server else None)
        rules = tuple(rule for rule in self._rules if rule.fits(name, server, kind))
        _remember(self._by_tool, key, rules, CACHED_TOOLS_MAX)
        return rules

    def _classified(
        self, rules: Sequence[ToolRule], arguments: object, tool: str, mcp_server: str | None
    ) -> Action | None:
        given: Mapping[str, object] = arguments if isinstance(arguments, dict) else {}
        rule = next((rule for rule in rules if _accepts(rule, given)), None)
        if rule is None:
            return None
        value = _resource_value(rule, arguments, given)
        found = self._inspected(rule, value, given)
        resource = found.resource or _label(rule, tool, mcp_server)
        return Action(
            action=found.action,
            resource=resource[:RESOURCE_CHARS_MAX] if resource else None,
            sensitivity=found.sensitivity or rule.sensitivity,
            reversible=found.reversible if found.reversible is not None else rule.reversible,
            side_effects=found.side_effects or rule.side_effects,
        )

    def _inspected(self, rule: ToolRule, value: object, given: Mapping[str, object]) -> Finding:
        base = Finding(action=rule.action, resource=None)
        if value is None:
            return base
        if rule.inspect == "command":
            return self._commands.look(_command_text(value))
        if rule.inspect == "path":
            return self._of_paths(rule.action, _texts(value))
        if rule.inspect == "patch":
            return self._of_patch(rule.action, "\n".join(_texts(value)))
        if rule.inspect == "sql":
            return _of_sql(rule.action, " ".join(_texts(value)))
        if rule.inspect == "url":
            return self._of_url(rule, _texts(value), given)
        return Finding(action=rule.action, resource=", ".join(_texts(value)) or None)

    def _of_paths(self, action: ActionName, paths: Sequence[str]) -> Finding:
        return Finding(
            action=action,
            resource=_listed(paths),
            sensitivity=strictest([self._paths.of(path) for path in paths]),
        )

    def _of_patch(self, action: ActionName, patch: str) -> Finding:
        found = [part for part in _PATCHED.finditer(patch) if part["path"] != "/dev/null"][:PATHS_MAX]
        finding = self._of_paths(action, [part["path"].strip() for part in found])
        deletes = any(part["verb"] == "Delete" for part in found)
        return Finding(
            action=action,
            resource=finding.resource,
            sensitivity=finding.sensitivity,
            reversible=False if deletes else None,
        )

    def _of_url(self, rule: ToolRule, urls: Sequence[str], given: Mapping[str, object]) -> Finding:
        host = host_of(urls[0]) if urls else None
        known = self._hosts.of(host) if host else None
        reversible, side_effects = rule.reversible, rule.side_effects
        if side_effects is None:
            reversible, side_effects = _http_effect(given)
        return Finding(
            action=rule.action,
            resource=host,
            sensitivity=known.sensitivity if known else None,
            reversible=reversible,
            side_effects=side_effects,
        )


def title(action: Action | None, tool: str) -> str:
    """One line that says what a call did: "wrote `calc.py`", "ran `pytest`", "called `api.example.com`"."""
    if action is None:
        return f"called `{tool}`"
    resource = action.resource
    if action.action in ("file_read", "file_write"):
        return f"{_file_verb(action)} `{_short_path(resource, action.sensitivity)}`" if resource else f"called `{tool}`"
    if action.action == "command":
        shown = resource if resource and not _names_a_runner(tool) else f"{tool} {resource}" if resource else tool
        return f"ran `{shown}`"
    if action.action == "database":
        verb = "queried" if action.side_effects == "none" else "changed" if action.side_effects else "used"
        return f"{verb} `{resource}`" if resource else f"{verb} a database (`{tool}`)"
    wording = {
        "network": "called",
        "message": "asked" if resource == "user" else "sent a message to",
        "external_action": f"did `{tool.rpartition('__')[2]}` on" if not _is_command(resource) else "ran",
        "memory_read": "recalled",
        "memory_write": "remembered" if action.reversible is not False else "forgot",
        "search": "searched for",
        "delegate": "handed over to",
    }
    verb = wording.get(action.action, "")
    return f"{verb} `{resource}`" if verb and resource else _bare_title(action.action, tool)


def split_tool(tool: str, mcp_server: str | None = None) -> tuple[str | None, str]:
    """Server and name of a tool in the form that rules match: snake case, `mcp__server__tool` taken apart."""
    name, server = _PREFIX.sub("", tool), mcp_server
    if name.startswith("mcp__") and name.count("__") >= 2:
        _, prefixed, name = name.split("__", 2)
        server = server or prefixed
    return (_snake(server) if server else None), _snake(name)


def _snake(name: str) -> str:
    return _NOT_WORD.sub("_", _CAMEL.sub("_", name).lower()).strip("_")


def _accepts(rule: ToolRule, given: Mapping[str, object]) -> bool:
    """Whether the arguments of a call are those that the rule asks for."""
    if rule.with_arguments and not any(key in given for key in rule.with_arguments):
        return False
    if any(key in given for key in rule.without_arguments):
        return False
    if any(given.get(key) not in allowed for key, allowed in rule.argument_is.items()):
        return False
    if rule.looks_like is None:
        return True
    texts = [value for key in rule.with_arguments if isinstance(value := given.get(key), str)]
    if rule.looks_like == "url":
        return any(text.startswith(("http://", "https://")) for text in texts)
    return any(looks_like_sql(text) for text in texts)


def _resource_value(rule: ToolRule, arguments: object, given: Mapping[str, object]) -> object:
    """The argument that names what is touched; a bare value stands for it."""
    if not given and isinstance(arguments, str | list):
        return (arguments or None) if rule.inspect else None
    found = next((given[key] for key in rule.resource if key in given), None)
    if found is not None or not rule.resource:
        return found
    nested = next((value for value in given.values() if isinstance(value, dict)), {})
    return next((nested[key] for key in rule.resource if key in nested), None)


def _label(rule: ToolRule, tool: str, mcp_server: str | None) -> str | None:
    if rule.label is None:
        return None
    server, _ = split_tool(tool, mcp_server)
    return rule.label.replace("{server}", server or tool)


def _texts(value: object) -> list[str]:
    """The texts in a value: itself, the items of a list, or their `path`, `url`, `email` or `name`."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value[:PATHS_MAX] for text in _texts(item)]
    if isinstance(value, dict):
        named = next((value[key] for key in ("path", "file_path", "url", "email", "name", "id") if key in value), None)
        return _texts(named)
    return [] if value is None or isinstance(value, bool) else [str(value)]


def _command_text(value: object) -> str:
    """A command as one line of shell; an argument list `["bash", "-lc", "…"]` gives what it runs."""
    if not isinstance(value, list):
        return " ".join(_texts(value))
    words = _texts(value)
    if len(words) >= 3 and words[1].startswith("-") and words[1].endswith("c"):
        return words[2]
    return " ".join(
        word if re.fullmatch(r"[\w@%+=:,./-]+", word) else "'" + word.replace("'", "") + "'" for word in words
    )


def _of_sql(action: ActionName, sql: str) -> Finding:
    statement = strongest_statement(sql)
    if statement is None:
        return Finding(action=action, resource=None)
    if statement.effect == "reads":
        return Finding(action=action, resource=statement.table, reversible=True, side_effects="none")
    reversible = False if statement.effect == "destroys" else None
    return Finding(action=action, resource=statement.table, reversible=reversible, side_effects="external")


def _http_effect(given: Mapping[str, object]) -> tuple[bool | None, SideEffects | None]:
    """Whether an HTTP call only reads, by its method and body; unknown when neither is given."""
    method = given.get("method", given.get("http_method"))
    if isinstance(method, str):
        return (True, "none") if method.upper() in _READ_METHODS else (None, "external")
    if any(given.get(key) for key in ("body", "data", "json", "payload", "form")):
        return None, "external"
    return None, None


def _listed(paths: Sequence[str]) -> str | None:
    if not paths:
        return None
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _remember(cache: OrderedDict[_K, _V], key: _K, value: _V, most: int) -> None:
    cache[key] = value
    if len(cache) > most:
        cache.popitem(last=False)


def _file_verb(action: Action) -> str:
    if action.action == "file_read":
        return "read"
    return "deleted" if action.reversible is False else "wrote"


def _short_path(path: str, sensitivity: str | None) -> str:
    """The name of a file; the whole path where it matters which one."""
    if sensitivity in ("secret", "confidential") or " " in path.strip():
        return path
    absolute = path.startswith(("/", "~")) or path[1:3] in (":\\", ":/")
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] if absolute else path


def _names_a_runner(tool: str) -> bool:
    return split_tool(tool)[1].startswith(
        ("run_test", "run_unit", "run_build", "run_lint", "run_task", "execute_tests", "lint", "test_runner")
    )


def _is_command(resource: str | None) -> bool:
    return resource is not None and " " in resource


def _bare_title(action: str, tool: str) -> str:
    bare: Mapping[str, str] = {"plan": "updated its plan", "delegate": f"handed over (`{tool}`)"}
    return bare.get(action, f"called `{tool}`")
