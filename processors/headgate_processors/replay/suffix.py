"""Makes another session of recorded requests: every id that ties records together is derived anew.

The same text gives the same ids. A UUID stays a UUID of its version, a ULID a ULID, trace ids stay 32
hexadecimal digits, and an id that contains a UUID keeps what is around it, so that the rules which look
at the shape of a session key see what they saw. Any other id gets the text behind it. Span ids stay: they
are only unique within their trace.

Ids are replaced where they are an attribute, and wherever the same id stands in another text: in message
JSON, in the body of a log record, in a `traceparent`.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from headgate_processors.errors import ConfigError, PermanentError
from headgate_processors.replay.convert import TRACE_ID_KEYS, json_tree
from headgate_processors.replay.files import read_requests
from headgate_processors.replay.ids import MIN_FREE_LENGTH, SHAPE, ids_in_text, names_id
from headgate_processors.replay.requests import ReplayItem, ReplayRefusal, ReplayRequest

MAX_IDS = 1_000_000
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PLAIN = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,31}")
_WORD = re.compile(r"[0-9A-Za-z]+(?:[-_]+[0-9A-Za-z]+)*")
_PIECE = re.compile(r"[0-9A-Za-z]+")
_DIGIT = re.compile("[0-9]")
_MAX_PIECES = 16
_STRING_KEYS = ("stringValue", "string_value")
# Where the value of an attribute lies.
_VALUE_KEYS = frozenset({"value", "arrayValue", "array_value", "values"})
# Text of a record that is no attribute: a status message.
_TEXT_KEYS = frozenset({*_STRING_KEYS, "message"})


def read_suffixed(paths: Iterable[Path], text: str) -> Iterator[ReplayItem]:
    """What `read_requests` reads, as another session; the files are read twice.

    Raises:
        ConfigError: a path does not exist, or the text is empty.
    """
    paths = list(paths)
    suffix = Suffix(text)
    for item in read_requests(paths):
        if isinstance(item, ReplayRequest):
            try:
                suffix.learn(item)
            except PermanentError:
                continue
    return (_applied(suffix, item) for item in read_requests(paths))


class Suffix:
    """Derives ids anew. First `learn` every request, then `apply`: an id may be told after it is used.

    Raises:
        ConfigError: the text is empty.
    """

    def __init__(self, text: str) -> None:
        if not text:
            message = "the session suffix is empty; any text makes another session"
            raise ConfigError(message)
        self._text = text
        is_plain = _PLAIN.fullmatch(text) and not SHAPE.search(text)
        self._tail = text if is_plain else hashlib.sha256(text.encode()).hexdigest()[:8]
        self._ids: set[str] = set()
        self._odd: set[str] = set()
        self._odd_pattern: re.Pattern[str] | None = None

    def learn(self, request: ReplayRequest) -> None:
        """Remember the ids of a request.

        Raises:
            PermanentError: the request cannot be read.
            ConfigError: the requests hold more ids than are kept in memory.
        """
        for key, value in _strings(_tree(request)):
            if key in TRACE_ID_KEYS:
                self._remember(value.lower())
            elif names_id(key, value):
                self._remember(value)
            else:
                for found in ids_in_text(value):
                    self._remember(found)
        self._odd_pattern = None

    def apply(self, request: ReplayRequest) -> ReplayRequest:
        """The request with every id derived anew, in JSON.

        Raises:
            PermanentError: the request cannot be read.
        """
        tree = _replaced(_tree(request), self._new_value)
        return replace(request, encoding="json", body=orjson.dumps(tree))

    def new_id(self, old: str) -> str:
        """What an id becomes."""
        if SHAPE.search(old):
            return SHAPE.sub(lambda match: self._new_shape(match[0]), old)
        return f"{old}-{self._tail}"

    def _remember(self, value: str) -> None:
        """Keep an id to find it in other texts; one without a digit may be any word, and is not looked for."""
        if not _DIGIT.search(value):
            return
        if len(self._ids) >= MAX_IDS:
            message = f"more than {MAX_IDS} ids to derive anew: replay fewer files at a time"
            raise ConfigError(message)
        self._ids.add(value)
        self._ids.update(match[0] for match in SHAPE.finditer(value))
        if not _WORD.fullmatch(value) and len(value) >= MIN_FREE_LENGTH:
            self._odd.add(value)

    def _new_value(self, key: str, value: str) -> str:
        if key in TRACE_ID_KEYS:
            return self.new_id(value.lower())
        return self.new_id(value) if names_id(key, value) else self._new_text(value)

    def _new_text(self, text: str) -> str:
        if self._odd:
            text = self._odd_ids().sub(lambda match: self.new_id(match[0]), text)
        return _WORD.sub(self._new_word, text)

    def _odd_ids(self) -> re.Pattern[str]:
        """Finds the ids that are more than one word; there are few."""
        if self._odd_pattern is None:
            longest_first = sorted(self._odd, key=len, reverse=True)
            either = "|".join(re.escape(value) for value in longest_first)
            self._odd_pattern = re.compile(f"(?<![0-9A-Za-z])(?:{either})(?![0-9A-Za-z])")
        return self._odd_pattern

    def _new_word(self, match: re.Match[str]) -> str:
        word = match[0]
        if word in self._ids:
            return self.new_id(word) if len(word) >= MIN_FREE_LENGTH or _is_quoted(match) else word
        if len(word) <= MIN_FREE_LENGTH or word.isalnum():
            return word
        return self._new_part(word)

    def _new_part(self, word: str) -> str:
        """The word with the longest known id within it derived anew."""
        pieces = list(_PIECE.finditer(word))
        for length in range(len(pieces) - 1, 0, -1) if len(pieces) <= _MAX_PIECES else ():
            for first in range(len(pieces) - length + 1):
                start, end = pieces[first].start(), pieces[first + length - 1].end()
                if end - start >= MIN_FREE_LENGTH and word[start:end] in self._ids:
                    return word[:start] + self.new_id(word[start:end]) + word[end:]
        return word

    def _new_shape(self, old: str) -> str:
        plain = old.replace("-", "").lower()
        digest = hashlib.sha256(f"{self._text}\0{plain}".encode())
        if len(plain) != 32:
            return _ulid(digest.digest())
        new = digest.hexdigest()[:32]
        # Version and variant of a UUID stay, and so a trace id that is written as a UUID elsewhere stays the same.
        new = new[:12] + plain[12] + new[13:16] + plain[16] + new[17:]
        if "-" in old:
            new = "-".join((new[:8], new[8:12], new[12:16], new[16:20], new[20:]))
        return new.upper() if old.isupper() else new


def _applied(suffix: Suffix, item: ReplayItem) -> ReplayItem:
    if isinstance(item, ReplayRefusal):
        return item
    try:
        return suffix.apply(item)
    except PermanentError as error:
        return ReplayRefusal(path=item.path, line=item.line, reason=f"cannot be made another session: {error}")


def _tree(request: ReplayRequest) -> dict[str, Any]:
    return json_tree(request.body, signal=request.signal, encoding=request.encoding)


def _strings(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text of a request with the key of its attribute or field."""
    found: list[tuple[str, str]] = []

    def visit(key: str, value: str) -> str:
        found.append((key, value))
        return value

    _replaced(tree, visit)
    return iter(found)


def _replaced(node: Any, change: Callable[[str, str], str], key: str = "") -> Any:
    """A copy of the tree in which `change(key, text)` stands for every text that may hold an id.

    Raises:
        PermanentError: the tree is nested too deeply.
    """
    try:
        return _copy(node, change, key)
    except RecursionError as error:
        message = "nested too deeply"
        raise PermanentError(message) from error


def _copy(node: Any, change: Callable[[str, str], str], key: str) -> Any:
    if isinstance(node, list):
        return [_copy(item, change, key) for item in node]
    if not isinstance(node, dict):
        return node
    name = node.get("key")
    inner = name if isinstance(name, str) else key
    copy = {}
    for field, value in node.items():
        if not isinstance(value, str):
            copy[field] = _copy(value, change, inner if field in _VALUE_KEYS else "")
        elif field in TRACE_ID_KEYS:
            copy[field] = change(field, value)
        else:
            copy[field] = change(inner, value) if field in _TEXT_KEYS else value
    return copy


def _is_quoted(match: re.Match[str]) -> bool:
    text, start, end = match.string, match.start(), match.end()
    return text[start - 1 : start] in {'"', "'"} and text[end : end + 1] in {'"', "'", "\\"}


def _ulid(digest: bytes) -> str:
    number = int.from_bytes(digest[:16], "big") >> 1
    return "".join(_CROCKFORD[(number >> (5 * place)) & 31] for place in range(25, -1, -1))
