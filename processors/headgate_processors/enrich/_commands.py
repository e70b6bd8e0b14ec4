"""Shell commands looked at by word: what the part that does most does, and to what.

This is no shell parser. It splits at operators outside quotes, drops here-documents, wrappers such as
`sudo` and `timeout`, and assignments, and matches the words that remain against the command rules.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from headgate_processors.enrich._action_rules import (
    ActionName,
    ActionTable,
    CommandRule,
    Hosts,
    PathSensitivity,
    Sensitivity,
    SideEffects,
    strictest,
)
from headgate_processors.enrich._sql import strongest_statement

COMMAND_CHARS_MAX = 4096
SEGMENTS_MAX = 32
SHELL_DEPTH_MAX = 3
LINE_CHARS_MAX = 80

_HEREDOC = re.compile(r"(?<!<)<<(?!<)-?\s*(['\"]?)(\w+)\1(.*?)(?:\n\s*\2\b|\Z)", re.DOTALL)
_TOKEN = re.compile(
    r"(?P<stop>&&|\|\||\||;|\n|&(?![>\d]))|(?P<out>(?:\d|&)?>>?\|?)|<+|(?P<word>(?:'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|[^\s'\"\\;|&<>])+)|&"
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_HOST = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?(?:[^\s/@]*@)?(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)(?::\d+)?(?:[/?#:].*)?",
    re.DOTALL,
)
_SENDS = ("-d", "--data", "-F", "--form", "-T", "--upload-file", "--json", "--post-data", "--post-file", "--body-data")
_METHOD = ("-X", "--request", "--method")
_QUIET_TARGETS = ("/dev/null", "&1", "&2", "/dev/stderr", "/dev/stdout")
_SQL_FLAGS = ("-c", "-e", "--command", "--execute", "-q", "-Q", "--query")
_RANK: dict[SideEffects | None, int] = {"none": 0, None: 1, "local": 2, "external": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a command, or one part of it, does; None is unknown."""

    action: ActionName
    resource: str | None
    sensitivity: Sensitivity | None = None
    reversible: bool | None = None
    side_effects: SideEffects | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    words: tuple[str, ...]
    written: str | None


class Commands:
    """Looks at shell commands with the rules of an action table."""

    def __init__(self, table: ActionTable, paths: PathSensitivity, hosts: Hosts) -> None:
        self._paths = paths
        self._hosts = hosts
        self._subcommands = frozenset(table.subcommands)
        self._wrappers = frozenset(table.wrappers)
        self._shells = frozenset(table.shells)
        self._by_program: dict[str, list[tuple[tuple[str, ...], CommandRule]]] = {}
        for rule in table.commands:
            for words in rule.words:
                first, *rest = words.split()
                self._by_program.setdefault(first, []).append(((first, *rest), rule))

    def look(self, command: str, depth: int = 0) -> Finding:
        """What the part of a command does that does most; the sensitivity is that of all its parts."""
        segments = _segments(_cut(command) if "<<" in command else command[:COMMAND_CHARS_MAX])
        found = [self._segment(segment, depth) for segment in segments]
        if not found:
            return Finding(action="command", resource=None)
        serious = [
            part for part in found if part.resource and not part.resource.startswith("cd ") and part.resource != "cd"
        ] or found
        chosen = max(serious, key=lambda part: (_RANK[part.side_effects], part.reversible is False))
        return replace(chosen, sensitivity=strictest([part.sensitivity for part in found]))

    def _segment(self, segment: _Segment, depth: int) -> Finding:
        words = self._bare(segment.words)
        if not words:
            return Finding(action="command", resource=None, side_effects="none")
        inner = _inner_command(words, self._shells)
        if inner is not None and depth < SHELL_DEPTH_MAX:
            return self.look(inner, depth + 1)
        program = words[0].rpartition("/")[2] if words[0].startswith(("/", "~", "../")) else words[0]
        words = (program, *words[1:])
        rule, matched = self._rule(words)
        found = self._described(words, rule, matched)
        if segment.written is not None:
            found = self._redirected(found, segment.written)
        return replace(found, sensitivity=strictest([found.sensitivity, *map(self._sensitive, words[1:])]))

    def _bare(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Without assignments before the program and without wrappers and their options."""
        while words:
            if _ASSIGNMENT.fullmatch(words[0]):
                words = words[1:]
            elif words[0] in self._wrappers and len(words) > 1:
                words = words[1:]
                while words and (words[0].startswith("-") or re.fullmatch(r"\d+(?:\.\d+)?[smh]?", words[0])):
                    words = words[1:]
            else:
                break
        return words

    def _rule(self, words: tuple[str, ...]) -> tuple[CommandRule | None, int]:
        """The first rule whose words begin the command, and how many words it names."""
        plain = [word for word in words[1:] if not word.startswith("-")]
        # `git -C /repo push`: the first operand may be the value of an option that stands before the subcommand.
        after_option = plain[1:] if len(words) > 1 and words[1].startswith("-") and "=" not in words[1] else plain
        flags = set(words[1:])
        for named, rule in self._by_program.get(words[0], ()):
            if rule.when_flags and not any(_has_flag(flags, flag) for flag in rule.when_flags):
                continue
            rest = named[1:]
            if all(_has_flag(flags, word) for word in rest if word.startswith("-")):
                expected = [word for word in rest if not word.startswith("-")]
                if expected in (plain[: len(expected)], after_option[: len(expected)]):
                    return rule, len(named)
        return None, 1

    def _described(self, words: tuple[str, ...], rule: CommandRule | None, matched: int) -> Finding:
        if rule is None:
            return Finding(action="command", resource=self._name(words, 1))
        found = Finding(
            action=rule.action,
            resource=self._name(words, matched),
            sensitivity=rule.sensitivity,
            reversible=rule.reversible,
            side_effects=rule.side_effects,
        )
        operands = _operands(words)
        if rule.resource == "host":
            return self._of_host(found, words)
        if rule.resource == "sql":
            return _of_sql(found, words)
        if rule.resource == "line":
            return replace(found, resource=_shortened(" ".join(words)))
        if rule.resource in ("path", "last") and operands:
            return replace(found, resource=operands[-1 if rule.resource == "last" else 0])
        return found

    def _name(self, words: tuple[str, ...], matched: int) -> str:
        """The program, and its subcommand or script where it has one."""
        wanted = max(matched, 2 if words[0] in self._subcommands else 1)
        if words[0].startswith("python") and words[1:2] == ("-m",):
            return " ".join(words[:3])
        named = [words[0]]
        for word in words[1:]:
            if len(named) >= wanted or (word.startswith("-") and matched <= 1):
                break
            named.append(word)
        return _shortened(" ".join(named))

    def _of_host(self, found: Finding, words: tuple[str, ...]) -> Finding:
        host = next((host for word in _operands(words) if (host := host_of(word)) is not None), None)
        known = self._hosts.of(host) if host else None
        reversible, side_effects = found.reversible, found.side_effects
        if side_effects is None:
            reversible, side_effects = _http_effect(words)
        return replace(
            found,
            resource=host or found.resource,
            reversible=reversible,
            side_effects=side_effects,
            sensitivity=strictest([found.sensitivity, known.sensitivity if known else None]),
        )

    def _redirected(self, found: Finding, written: str) -> Finding:
        """A command whose output goes to a file writes that file, unless it already does more."""
        if _RANK[found.side_effects] >= _RANK["local"] and found.action != "file_read":
            return found
        if found.side_effects == "none":
            return Finding(
                action="file_write", resource=written, sensitivity=self._sensitive(written), side_effects="local"
            )
        return replace(found, side_effects="local")

    def _sensitive(self, word: str) -> Sensitivity | None:
        """The sensitivity of a word that is a path; an ordinary one says nothing about a command."""
        if "." not in word and "/" not in word and "_" not in word and "credentials" not in word:
            return None
        path = word.rpartition("=")[2].removeprefix("@")
        sensitivity = self._paths.of(path)
        return sensitivity if sensitivity in ("confidential", "secret") else None


def host_of(url: str) -> str | None:
    """The host of a URL, or of `user@host:path`, without port; None when there is none."""
    matched = _HOST.fullmatch(url.strip())
    if matched is None:
        return None
    host = matched[1].strip("[]").lower()
    return host if "." in host or ":" in host or host == "localhost" or "://" in url or "@" in url else None


def _cut(command: str) -> str:
    """The command without the bodies of its here-documents."""
    return _HEREDOC.sub(lambda found: " " + found[3].split("\n", 1)[0] + "\n", command)[:COMMAND_CHARS_MAX]


def _segments(command: str) -> list[_Segment]:
    segments: list[_Segment] = []
    words: list[str] = []
    written: str | None = None
    redirected = False
    for token in _TOKEN.finditer(command):
        if token["stop"]:
            segments.append(_Segment(words=tuple(words), written=written))
            words, written, redirected = [], None, False
        elif token["out"]:
            redirected = True
        elif token["word"]:
            word = _unquoted(token["word"])
            if redirected:
                written, redirected = (written if word in _QUIET_TARGETS else word), False
            else:
                words.append(word)
    segments.append(_Segment(words=tuple(words), written=written))
    return [segment for segment in segments if segment.words][:SEGMENTS_MAX]


def _unquoted(word: str) -> str:
    if "'" not in word and '"' not in word and "\\" not in word:
        return word
    return re.sub(
        r"'([^']*)'|\"((?:\\.|[^\"\\])*)\"|\\(.)", lambda part: part[1] or part[2] or part[3] or "", word
    ).strip("()")


def _inner_command(words: Sequence[str], shells: frozenset[str]) -> str | None:
    """The command that `bash -lc '…'` runs."""
    if words[0].rpartition("/")[2] not in shells:
        return None
    for position, word in enumerate(words[1:-1], start=1):
        if word.startswith("-") and not word.startswith("--") and word.endswith("c"):
            return words[position + 1]
    return None


def _has_flag(flags: set[str], flag: str) -> bool:
    if flag in flags or any(word.startswith(flag + "=") for word in flags):
        return True
    letter = flag[1:]
    return len(letter) == 1 and any(
        word.startswith("-") and not word.startswith("--") and letter in word for word in flags if len(word) < 6
    )


def _operands(words: Sequence[str]) -> list[str]:
    return [word for word in words[1:] if not word.startswith("-")]


def _http_effect(words: Sequence[str]) -> tuple[bool | None, SideEffects]:
    """Whether an HTTP client only reads: no method but GET and HEAD, and nothing sent."""
    for position, word in enumerate(words):
        if word.startswith(_METHOD):
            method = word.rpartition("=")[2] if "=" in word else (words[position + 1 : position + 2] or [""])[0]
            method = word[2:] if word.startswith("-X") and len(word) > 2 else method
            if method.upper() not in ("GET", "HEAD", "OPTIONS"):
                return None, "external"
        elif word.startswith(_SENDS) or word in ("POST", "PUT", "PATCH", "DELETE"):
            return None, "external"
    return True, "none"


def _of_sql(found: Finding, words: Sequence[str]) -> Finding:
    """The statement that a database client is given, by flag or as its last operand."""
    given = [words[position + 1] for position, word in enumerate(words[:-1]) if word in _SQL_FLAGS]
    given += [word.partition("=")[2] for word in words if word.startswith(tuple(f"{flag}=" for flag in _SQL_FLAGS))]
    statement = strongest_statement("; ".join(given) if given else (_operands(words) or [""])[-1])
    if statement is None:
        return found
    effects: dict[str, tuple[bool | None, SideEffects]] = {
        "reads": (True, "none"),
        "writes": (None, "external"),
        "destroys": (False, "external"),
    }
    reversible, side_effects = effects[statement.effect]
    resource = statement.table or found.resource
    return replace(found, resource=resource, reversible=reversible, side_effects=side_effects)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LINE_CHARS_MAX else line[: LINE_CHARS_MAX - 1] + "…"
