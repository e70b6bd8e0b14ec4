"""The page on decisions over HTTP names every action, type and path, and its question is one."""

import json
import re
from pathlib import Path

from headgate_control.request import Request
from headgate_control.server.search import ACTIONS_OF, metadata
from headgate_control.server.wire import ACTIONS, parse_evaluation

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "decisions-over-http.md"


def test_the_question_of_the_page_is_one() -> None:
    """About a tool of a server, by its whole name."""
    block = re.search(r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    found: Request = parse_evaluation(json.loads(block[1]))
    assert ("github/create_issue", "create_issue") == (found.named, found.resource.id)


def test_every_action_type_and_path_is_named() -> None:
    """And no other action."""
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./]+)`", text))
    paths = {str(one) for one in metadata("").values()}
    assert set() == (set(ACTIONS) | set(ACTIONS_OF)) - named
    assert set() == {path for path in paths if path.rpartition("/")[2] not in text}
