"""Random numbers that are the same on every machine and for every version of a library: SHAKE-128 of a seed."""

from hashlib import shake_128

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Uniform = npt.NDArray[np.float64]


def random_bytes(seed: int, *names: str | int, size: int) -> Bytes:
    """`size` bytes that only `seed` and `names` decide."""
    text = "\0".join(("headgate.generate", str(seed), *map(str, names)))
    return np.frombuffer(shake_128(text.encode()).digest(size), np.uint8)


def uniform(seed: int, *names: str | int, size: int) -> Uniform:
    """`size` numbers from 0 to below 1."""
    words = random_bytes(seed, *names, size=8 * size).view(np.dtype("<u8"))
    return np.asarray((words >> np.uint64(11)) * 2.0**-53, np.float64)
