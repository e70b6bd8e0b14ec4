"""An instance, the keys of control, and a clock that can be set."""

from pathlib import Path

import pytest

from headgate_control.identity.instance import Instance
from headgate_control.identity.signing_keys import SigningKeys
from headgate_control.testing.identities import SetClock, instance


@pytest.fixture
def clock() -> SetClock:
    """A clock that stands still."""
    return SetClock()


@pytest.fixture
def keys(tmp_path: Path, clock: SetClock) -> SigningKeys:
    """The keys of control."""
    return SigningKeys.open(tmp_path / "keys", clock=clock)


@pytest.fixture
def agent() -> Instance:
    """The instance of which tokens are made."""
    return instance()
