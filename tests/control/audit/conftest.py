"""Control state with a journal, its records and two logs, as a site has them."""

from contextlib import closing
from pathlib import Path

import pytest

from headgate_control.audit.heads import anchor_logs
from headgate_control.audit.log import AuditLog, LogConfig
from headgate_control.store.opening import open_sqlite
from headgate_control.store.record import Change

SMALL = LogConfig(file_bytes_max=1_000, line_bytes_max=900)


def fill(folder: Path) -> None:
    """Five changes, and two logs of which the journal knows the heads."""
    with (
        closing(open_sqlite(folder / "control.sqlite", writer="control")) as store,
        closing(AuditLog.open(folder / "log", "gateway", SMALL)) as decisions,
        closing(AuditLog.open(folder / "log", "budgets")) as budgets,
    ):
        for number in range(4):
            store.change(
                [Change(kind="stop", id=f"s{number % 2}", body={"turn": number})],
                author="ada",
                action="stop.stop",
                reason="because",
            )
        for turn in range(8):
            decisions.append({"kind": "decision", "turn": turn})
        budgets.append({"kind": "books"})
        anchor_logs(store, [decisions, budgets], author="control")


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """The folder of control."""
    fill(tmp_path)
    return tmp_path
