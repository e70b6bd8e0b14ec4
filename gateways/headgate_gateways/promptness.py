"""The interpreter of a process that answers calls: what else it does must not hold them up."""

import gc
import sys

ALLOCATIONS_BETWEEN = 20_000
TURN_S = 0.000_1


def be_prompt() -> None:
    """Let the thread that answers have its turn soon, and the garbage collector look less often. For a whole process.

    What is there now stays to the end, and most of what calls make goes by its reference counts.
    """
    sys.setswitchinterval(TURN_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_BETWEEN, 10, 100)
