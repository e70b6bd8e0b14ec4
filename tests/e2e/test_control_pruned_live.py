"""Old logs of a running control go once the store has them, told again where it was not told."""

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headgate_console.control.place import Place
from headgate_console.testing.commands import Run, runner
from headgate_control.audit.log import AuditLog, LogConfig
from headgate_processors.testing.model_server import ModelServer, parsed_scenario
from headgate_processors.testing.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ANSWERS = "turns: [{say: hello}]\nusage: {input_tokens: 100, output_tokens: 10}\n"
COUNT = 40
UNTOLD = "never-told"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `headgate` on the folder of the site."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_DATA", str(tmp_path / "store"))
    return runner(capsys)


def decide_untold(place: Place) -> None:
    """Decisions in files of their own, of which nobody has told the store; all of them are old."""
    with closing(AuditLog.open(place.logs, "decisions", LogConfig(file_bytes_max=4_000))) as log:
        for number in range(COUNT):
            row = {"decision_id": f"{UNTOLD}-{number}", "time_unix_nano": 1_790_000_000_000_000_000 + number}
            log.append({"kind": "decision", **row, "action": "model.call", "decision": False, "effect": "deny"})
    for path in place.logs.glob("*.jsonl"):
        os.utime(path, ns=(1, 1))


def test_what_the_store_was_not_told_of_is_told_and_goes_the_next_time(
    start_site: Callable[..., Any], command: Run, tmp_path: Path
) -> None:
    """File by file; calls go on, and every chain is proven from what was pruned on."""

    def pruned() -> dict[str, Any]:
        result = command("control", "prune", "--json")
        assert 0 == result.code, result.err
        found: dict[str, Any] = json.loads(result.out)[0]
        return found

    with ModelServer(parsed_scenario(ANSWERS)) as model:
        with start_site(tmp_path, model) as site:
            made = json.loads(command("instance", "create", "--manifest", str(site.manifest()), "--json").out)
            assert 200 == site.call(made["gateway_key"]).status_code
        place = Place(data=site.data)
        decide_untold(place)
        before = len(list(place.logs.glob("decisions-*.jsonl")))
        with start_site(tmp_path, model) as site:
            told = 0
            while (done := pruned())["told"]:
                told += done["told"]
                count = f"SELECT decision_id FROM decisions WHERE decision_id LIKE '{UNTOLD}-%'"
                wait_until(lambda: len(site.query(count)) >= told)  # noqa: B023 - it ends before told changes
            after = len(list(place.logs.glob("decisions-*.jsonl")))
            status, verified = site.call(made["gateway_key"]).status_code, command("audit", "verify")
    assert before > 3 > after
    assert told > COUNT / 2
    assert (200, 0) == (status, verified.code)
    assert "Every chain is whole after what was pruned." in verified.out
