"""What is freed goes back to the system."""

import os
import subprocess
import sys

from headgate_processors.memory import SPARING

_ROUND = """
import pyarrow as pa
from headgate_processors.memory import give_back
from headgate_processors.workers.child import rss_bytes

before = rss_bytes()
small = [pa.array(["x" * 100] * 100) for _ in range(4000)]
texts = [str(number) * 20 for number in range(100_000)]
grown = rss_bytes()
del small, texts
give_back()
print(grown - before > 40 << 20, rss_bytes() - before < 8 << 20)
"""


def test_what_is_freed_is_given_back() -> None:
    """Arrow's buffers and Python's objects alike, in a process with the environment of a part of Headgate."""
    told = subprocess.run(
        [sys.executable, "-c", _ROUND], env=os.environ | SPARING, capture_output=True, text=True, check=True
    )
    assert "True True" == told.stdout.strip()
