"""What a revoked instance had ends with it."""

import time
from pathlib import Path

from headgate_console.control.callers import token_ender
from headgate_processors.credentials.keystore import KeyStore


def test_the_tokens_of_an_instance_end_and_no_others(tmp_path: Path) -> None:
    """Those that stand for it, by their subject."""
    keys = KeyStore(tmp_path)
    own, other = (keys.create("client", subject=one).credential.token_id for one in ("ai-1", "ai-2"))
    token_ender(keys)("ai-1")
    token_ender(keys)("ai-1")
    states = [keys.keys().by_id[one].state(time.time_ns()) for one in (own, other)]
    assert ["revoked", "valid"] == states
