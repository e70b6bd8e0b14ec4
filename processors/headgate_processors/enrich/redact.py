"""Secrets and personal data taken out of text before it touches disk.

Rules are data (`rules/redaction.yaml` and a site's own file) over RE2, whose time is linear in the
text. One pass of a rule set over the bytes decides whether anything is there at all, so clean text
costs a few microseconds per kilobyte; only rules that hit are searched one by one.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
import re2

from headgate_processors.documents import Document, packaged_document, read_document
from headgate_processors.enrich._secrets import VALIDATORS, Validator
from headgate_processors.errors import ConfigError

MEMORY_BYTES_MAX = 64 << 20
NESTED_JSON_MAX = 4
_EDGE = r"(?:\b|\\[bfnrt]|\\u[0-9A-Fa-f]{4})"
_CLEAR = r"(?:^|[^0-9A-Za-z_.+-]|\\[bfnrt]|\\u[0-9A-Fa-f]{4})"


class Rule(Document):
    """One thing to find: `before`, `pattern` and `after` are RE2 over bytes; only `pattern` is replaced."""

    id: str
    class_: str
    kind: Literal["secret", "personal"] = "secret"
    pattern: str = ""
    before: str = "{edge}"
    after: str = ""
    validator: str | None = None
    enabled: bool = True

    model_config = Document.model_config | {"alias_generator": lambda name: name.rstrip("_")}


class RedactionRules(Document):
    """A versioned table of rules, and texts (RE2, whole match) that are never replaced."""

    version: str
    rules: tuple[Rule, ...] = ()
    allow: tuple[str, ...] = ()

    @classmethod
    def load(cls, site: Path | None = None) -> "RedactionRules":
        """The packaged rules, and over them the rules of a site's file.

        A site's rule with the id of a packaged one replaces it; `enabled: false` alone switches it off.

        Raises:
            ConfigError: the site's file is missing or wrong.
        """
        packaged = packaged_document("redaction.yaml", cls)
        return packaged if site is None else _merged(packaged, read_document(site, _SiteRules))

    def only(self, kind: Literal["secret", "personal"]) -> "RedactionRules":
        """The rules of one kind: some fields may hold names of people, but never a key."""
        return self.model_copy(update={"rules": tuple(rule for rule in self.rules if rule.kind == kind)})


class SiteRule(Document):
    """A rule of a site: a rule of its own, or the id of a packaged one and what differs."""

    id: str
    class_: str | None = None
    kind: Literal["secret", "personal"] | None = None
    pattern: str | None = None
    before: str | None = None
    after: str | None = None
    validator: str | None = None
    enabled: bool | None = None

    model_config = Document.model_config | {"alias_generator": lambda name: name.rstrip("_")}


class _SiteRules(Document):
    version: str
    rules: tuple[SiteRule, ...] = ()
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """The text to store, and the classes of what was taken out, in order of appearance."""

    text: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    class_: str
    rank: int
    regexp: "re2._Regexp"
    validate: Validator | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hit:
    start: int
    end: int
    rank: int
    class_: str


class Redactor:
    """Replaces what the rules find by `[REDACTED:class]`; safe to share between threads."""

    def __init__(self, rules: RedactionRules) -> None:
        enabled = [rule for rule in rules.rules if rule.enabled]
        self.version = rules.version
        self._compiled = [_compile(rule, rank) for rank, rule in enumerate(enabled)]
        self._set = _prefilter(enabled)
        self._allow = _allowed(rules.allow)

    def redact(self, text: str) -> Redacted:
        """The text without secrets and personal data.

        Text that is JSON stays JSON: where a replacement would break it, its strings and numbers are
        redacted one by one.
        """
        return self._redact(text, NESTED_JSON_MAX)

    def clean(self, text: str) -> str:
        """The text that `redact` gives; most texts hold nothing to take out, and no value is made for those."""
        raw = text.encode("utf-8", "surrogatepass")
        matched = self._set.Match(raw)
        return self._matched(text, raw, matched, NESTED_JSON_MAX).text if matched else text

    def _redact(self, text: str, depth: int) -> Redacted:
        raw = text.encode("utf-8", "surrogatepass")
        matched = self._set.Match(raw)
        return self._matched(text, raw, matched, depth) if matched else Redacted(text=text, classes=())

    def _matched(self, text: str, raw: bytes, matched: Sequence[int], depth: int) -> Redacted:
        hits = _disjoint([hit for number in matched for hit in self._hits(self._compiled[number], raw)])
        if not hits:
            return Redacted(text=text, classes=())
        replaced = _spliced(raw, hits)
        classes = tuple(dict.fromkeys(hit.class_ for hit in hits))
        if depth and text.lstrip()[:1] in ("{", "[") and _is_json(raw) and not _is_json(replaced):
            try:
                return self._redact_leaves(text, depth - 1)
            except RecursionError:
                # Nested too deeply to be walked: what is replaced matters more than that it stays JSON.
                pass
        return Redacted(text=replaced.decode("utf-8", "surrogatepass"), classes=classes)

    def _hits(self, rule: _Compiled, raw: bytes) -> Iterator[_Hit]:
        position = 0
        while position <= len(raw) and (match := rule.regexp.search(raw, position)) is not None:
            start, end = _whole_characters(raw, *match.span(1))
            position = max(end, position + 1)
            if rule.validate is not None and not rule.validate(raw, start, end):
                continue
            if self._allow is None or self._allow.fullmatch(raw[start:end]) is None:
                yield _Hit(start=start, end=end, rank=rule.rank, class_=rule.class_)

    def _redact_leaves(self, text: str, depth: int) -> Redacted:
        classes: dict[str, None] = {}

        def leaf(value: str) -> str:
            redacted = self._redact(value, depth)
            classes.update(dict.fromkeys(redacted.classes))
            return redacted.text

        walked = _walked(json.loads(text), leaf)
        return Redacted(text=json.dumps(walked, ensure_ascii=False, separators=(",", ":")), classes=tuple(classes))


def _walked(value: object, leaf: Callable[[str], str]) -> object:
    """JSON with every string, key and number through `leaf`; a number that changes becomes text."""
    if isinstance(value, str):
        return leaf(value)
    if isinstance(value, dict):
        return {leaf(key): _walked(entry, leaf) for key, entry in value.items()}
    if isinstance(value, list):
        return [_walked(entry, leaf) for entry in value]
    if value is None or isinstance(value, bool):
        return value
    written = str(value)
    return value if (redacted := leaf(written)) == written else redacted


def _is_json(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def _whole_characters(raw: bytes, start: int, end: int) -> tuple[int, int]:
    """The span widened so that it cuts no UTF-8 character in two."""
    while start > 0 and raw[start] & 0xC0 == 0x80:
        start -= 1
    while end < len(raw) and raw[end] & 0xC0 == 0x80:
        end += 1
    return start, end


def _disjoint(hits: Sequence[_Hit]) -> list[_Hit]:
    """Overlapping hits become one, whose class is that of the rule that stands first."""
    merged: list[_Hit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, hit.rank)):
        if not merged or hit.start >= merged[-1].end:
            merged.append(hit)
            continue
        last = merged[-1]
        first = min(last, hit, key=lambda hit: hit.rank)
        merged[-1] = _Hit(start=last.start, end=max(last.end, hit.end), rank=first.rank, class_=first.class_)
    return merged


def _spliced(raw: bytes, hits: Sequence[_Hit]) -> bytes:
    pieces: list[bytes] = []
    position = 0
    for hit in hits:
        pieces += (raw[position : hit.start], b"[REDACTED:%b]" % hit.class_.encode())
        position = hit.end
    return b"".join((*pieces, raw[position:]))


def _options() -> "re2.Options":
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = MEMORY_BYTES_MAX
    options.log_errors = False
    return options


def _expression(rule: Rule) -> bytes:
    whole = f"{rule.before}({rule.pattern}){rule.after}"
    return whole.replace("{edge}", _EDGE).replace("{clear}", _CLEAR).encode("utf-8")


def _compile(rule: Rule, rank: int) -> _Compiled:
    if rule.validator is not None and rule.validator not in VALIDATORS:
        raise ConfigError(
            f"redaction rule {rule.id!r}: unknown validator {rule.validator!r}; known: {', '.join(sorted(VALIDATORS))}"
        )
    if not rule.pattern:
        raise ConfigError(f"redaction rule {rule.id!r} has no pattern, and no packaged rule has that id: add one")
    return _Compiled(
        class_=rule.class_,
        rank=rank,
        regexp=_regexp(_expression(rule), f"redaction rule {rule.id!r}"),
        validate=VALIDATORS[rule.validator] if rule.validator else None,
    )


def _regexp(expression: bytes, what: str) -> "re2._Regexp":
    try:
        return re2.compile(expression, _options())
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise ConfigError(f"{what}: not a valid RE2 expression: {reason}") from error


def _prefilter(rules: Sequence[Rule]) -> "re2.Set":
    """One automaton that says which rules may match, in one pass over the text."""
    patterns = re2.Set.SearchSet(_options())
    for rule in rules:
        patterns.Add(_expression(rule))
    patterns.Compile()
    return patterns


def _allowed(allow: Sequence[str]) -> "re2._Regexp | None":
    if not allow:
        return None
    return _regexp("|".join(f"(?:{text})" for text in allow).encode("utf-8"), "redaction: `allow`")


def _merged(packaged: RedactionRules, site: _SiteRules) -> RedactionRules:
    rules: dict[str, Rule] = {rule.id: rule for rule in packaged.rules}
    for change in site.rules:
        given = change.model_dump(exclude_none=True)
        base: Mapping[str, object] = rules[change.id].model_dump() if change.id in rules else {}
        fields = {"class_": "custom", **base, **given}
        rules[change.id] = Rule.model_validate({name.rstrip("_"): value for name, value in fields.items()})
    # A site's own rules stand first, so that they name the class where they overlap a packaged one.
    own = [rule for key, rule in rules.items() if key not in {rule.id for rule in packaged.rules}]
    rest = [rule for key, rule in rules.items() if rule not in own]
    return RedactionRules(
        version=f"{packaged.version}+{site.version}", rules=(*own, *rest), allow=packaged.allow + site.allow
    )
