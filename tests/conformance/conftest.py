"""The decoders that the conformance suite runs: one more joins by one more line in `DECODERS`."""

from collections.abc import Mapping

import pytest

from headgate_processors.otlp import decode
from headgate_processors.otlp.port import Decoder

DECODERS: Mapping[str, Decoder] = {
    "python": decode,
}


@pytest.fixture(scope="session", params=sorted(DECODERS))
def decoder(request: pytest.FixtureRequest) -> Decoder:
    """Each decoder in turn."""
    return DECODERS[request.param]
