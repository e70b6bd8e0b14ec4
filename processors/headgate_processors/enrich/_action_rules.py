"""The shape of `actions.yaml`, and its tables made ready for matching."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import Literal

import re2
from pydantic import Field

from headgate_processors.documents import Document, packaged_document, read_document

Sensitivity = Literal["public", "internal", "confidential", "secret"]
SideEffects = Literal["none", "local", "external"]
ActionName = Literal[
    "file_read", "file_write", "command", "network", "database", "message", "external_action",
    "memory_read", "memory_write", "search", "delegate", "plan",
]  # fmt: skip
CACHED_PATHS_MAX = 4096
CACHED_GLOBS_MAX = 4096
SENSITIVITIES: tuple[Sensitivity, ...] = ("public", "internal", "confidential", "secret")


class _Verdict(Document):
    action: ActionName
    sensitivity: Sensitivity | None = None
    reversible: bool | None = None
    side_effects: SideEffects | None = None


class ToolRule(_Verdict):
    """Says what a tool does, by its name, its server, its type and its arguments."""

    tools: tuple[str, ...]
    server: tuple[str, ...] = ()
    without_server: tuple[str, ...] = ()
    tool_type: tuple[str, ...] = ()
    without_tool_type: tuple[str, ...] = ()
    with_arguments: tuple[str, ...] = ()
    without_arguments: tuple[str, ...] = ()
    argument_is: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    looks_like: Literal["sql", "url"] | None = None
    inspect: Literal["path", "command", "sql", "url", "patch", "text"] | None = None
    resource: tuple[str, ...] = ()
    label: str | None = None

    def fits(self, tool: str, server: str | None, tool_type: str | None) -> bool:
        """Whether the rule can speak about a tool; its arguments are looked at per call."""
        return (
            _any_glob(self.tools, tool)
            and (not self.server or (server is not None and _any_glob(self.server, server)))
            and not (server is not None and _any_glob(self.without_server, server))
            and (not self.tool_type or tool_type in self.tool_type)
            and not (tool_type is not None and tool_type in self.without_tool_type)
        )


class CommandRule(_Verdict):
    """Says what a shell command does, by the words that it begins with and its flags."""

    words: tuple[str, ...]
    when_flags: tuple[str, ...] = ()
    resource: Literal["words", "path", "last", "host", "sql", "line"] = "words"


class PathRule(Document):
    """Says how sensitive the files are whose path fits."""

    match: tuple[str, ...]
    sensitivity: Sensitivity


class HostRule(Document):
    """Says what a host is called, and how sensitive what it holds is."""

    match: tuple[str, ...]
    name: str | None = None
    sensitivity: Sensitivity | None = None


class ActionTable(Document):
    """The whole of an `actions.yaml`."""

    version: str
    tools: tuple[ToolRule, ...] = ()
    commands: tuple[CommandRule, ...] = ()
    subcommands: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()
    shells: tuple[str, ...] = ()
    paths: tuple[PathRule, ...] = ()
    hosts: tuple[HostRule, ...] = ()

    @classmethod
    def load(cls, site: Path | None = None) -> "ActionTable":
        """The packaged table, with the rules of a site's file before its own.

        Raises:
            ConfigError: the site's file is missing or wrong.
        """
        packaged = packaged_document("actions.yaml", cls)
        if site is None:
            return packaged
        own = read_document(site, cls)
        return cls(
            version=f"{packaged.version}+{own.version}",
            tools=own.tools + packaged.tools,
            commands=own.commands + packaged.commands,
            subcommands=own.subcommands + packaged.subcommands,
            wrappers=own.wrappers + packaged.wrappers,
            shells=own.shells + packaged.shells,
            paths=own.paths + packaged.paths,
            hosts=own.hosts + packaged.hosts,
        )


class PathSensitivity:
    """How sensitive a path is: the first rule that fits. All rules are one automaton, asked once per path."""

    def __init__(self, rules: Sequence[PathRule]) -> None:
        self._sensitivities = [rule.sensitivity for rule in rules]
        options = re2.Options()
        options.case_sensitive = False
        options.dot_nl = True
        self._automaton = re2.Set.FullMatchSet(options)
        for rule in rules:
            self._automaton.Add("|".join(map(_path_glob, rule.match)))
        self._automaton.Compile()
        self.of = lru_cache(maxsize=CACHED_PATHS_MAX)(self._of)

    def _of(self, path: str) -> Sensitivity | None:
        plain = path.replace("\\", "/").removeprefix("file://")
        matched = self._automaton.Match(plain.encode("utf-8", "replace"))
        return self._sensitivities[min(matched)] if matched else None


class Hosts:
    """Names and sensitivity of hosts: the first rule that fits."""

    def __init__(self, rules: Sequence[HostRule]) -> None:
        self._rules = [(re.compile("|".join(map(translate, rule.match)), re.IGNORECASE), rule) for rule in rules]

    def of(self, host: str) -> HostRule | None:
        """The rule of a host without its port; None when no rule speaks."""
        return next((rule for fits, rule in self._rules if fits.match(host)), None)


def strictest(values: Sequence[Sensitivity | None]) -> Sensitivity | None:
    """The most sensitive of some; None when none is known."""
    known = [value for value in values if value is not None]
    return max(known, key=SENSITIVITIES.index, default=None)


def _path_glob(glob: str) -> str:
    if glob == "*":
        return ".*"
    body = "[^/]*".join(map(re2.escape, glob.split("*")))
    return body if glob.startswith("/") else f"(?:.*/)?{body}"


def _any_glob(globs: Sequence[str], name: str) -> bool:
    return any(glob == name or ("*" in glob and _glob(glob).match(name) is not None) for glob in globs)


@lru_cache(maxsize=CACHED_GLOBS_MAX)
def _glob(glob: str) -> re.Pattern[str]:
    return re.compile(translate(glob))
