"""The checksum by which a file is known to be whole."""

import zlib
from pathlib import Path


def checksum(path: Path) -> int:
    """The CRC-32 of a whole file."""
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
    return crc
