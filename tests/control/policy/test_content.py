"""What kinds of secrets and personal data a request holds."""

import json

import pytest

from headgate_control.policy.content import ContentClasses
from headgate_processors.enrich.redact import RedactionRules, Redactor

CLASSES = ContentClasses(Redactor(RedactionRules.load()), bytes_max=1_000)


def body(text: str) -> bytes:
    """A request of a model."""
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (body("fix calc.py"), ()),
        (body("write to ada@example.com"), ("email",)),
        (body("write to ada@example.com").replace(b"@", b"\\u0040"), ("email",)),
        (b"", ()),
        (b"\xff\xfe ada@example.com", ("email",)),
        (b'{"cut": "\\u00', ("unchecked",)),
        (body("ada\ud800 ada@example.com").replace(b"@", b"\\u0040"), ("email",)),
        (body("x" * 2_000), ("unchecked",)),
        (body("ada@example.com " + "x" * 2_000), ("email", "unchecked")),
    ],
)
def test_the_classes_of_a_body_are_those_of_the_redaction_rules(content: bytes, expected: tuple[str, ...]) -> None:
    """However it is escaped; what is too long to be looked at is not said to be clean."""
    assert expected == CLASSES(content)
