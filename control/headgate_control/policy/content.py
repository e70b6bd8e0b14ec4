"""Which kinds of secrets and personal data a request holds, for policies such as "no customer data to this provider".

The classes are those of the redaction rules: what is taken out of stored content is what policies can name.
"""

import json

from headgate_processors.enrich.redact import Redactor

CONTENT_BYTES_MAX = 256 << 10
UNCHECKED = "unchecked"
"""The class of content that nobody has looked at in full: it is too long, or hides letters in what is no JSON."""


class ContentClasses:
    """Finds the classes of a text. For any thread; a look takes some microseconds for each KiB."""

    def __init__(self, redactor: Redactor, *, bytes_max: int = CONTENT_BYTES_MAX) -> None:
        self._redactor, self._bytes_max = redactor, bytes_max

    def __call__(self, content: bytes) -> tuple[str, ...]:
        """The classes of what a body holds, in order of appearance; `unchecked` last where not all was looked at.

        JSON is read with its escapes resolved, so that none of them hides anything.
        """
        plain = _plain(content[: self._bytes_max])
        whole = plain is not None and len(content) <= self._bytes_max
        text = plain if plain is not None else content[: self._bytes_max].decode("utf-8", "replace")
        classes = self._redactor.redact(text).classes
        return classes if whole else (*classes, UNCHECKED)


def _plain(content: bytes) -> str | None:
    """The content with no letter escaped; None where some are, and they cannot be resolved."""
    if b"\\u" not in content:
        return content.decode("utf-8", "replace")
    try:
        return json.dumps(json.loads(content), ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
