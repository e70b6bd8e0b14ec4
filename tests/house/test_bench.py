"""The bench runs and prints what it promises."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench" / "ingest.py"


@pytest.mark.e2e
@pytest.mark.slow
def test_the_bench_prints_each_figure_with_its_ratio() -> None:
    """One copy of the recordings is enough to see every row."""
    printed = subprocess.run([sys.executable, str(BENCH), "--copies", "1"], capture_output=True, text=True, check=True)
    rows = printed.stdout.splitlines()[3:]
    assert ["baseline", "ingest", "ingest", "derive", "list"] == [row.split()[0].rstrip(":") for row in rows]
    assert 3 == sum(row.split()[-1].count(".") for row in rows[:3])
