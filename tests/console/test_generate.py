"""`headgate generate --data`: a store filled, with or without what is derived."""

import json

import pytest

from headgate_console.cli import main


def _count(capsys, data, view) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["sql", f"SELECT count(*) AS rows FROM {view}", "--json", "--data", str(data)])
    assert not ended.value.code
    return int(json.loads(capsys.readouterr().out)[0]["rows"])


@pytest.mark.slow
@pytest.mark.parametrize(("option", "are_derived"), [("--derive", True), ("--no-derive", False)])
def test_a_store_is_filled_with_sessions_derived_or_not(tmp_path, capsys, option, are_derived) -> None:
    """Spans are there either way, sessions when they are derived."""
    with pytest.raises(SystemExit) as ended:
        main(["generate", "--sessions", "5", option, "--data", str(tmp_path)])
    capsys.readouterr()

    found = {view: _count(capsys, tmp_path, view) > 0 for view in ("spans", "sessions")}
    assert (0, {"spans": True, "sessions": are_derived}) == (ended.value.code or 0, found)
