"""The garbage collector of a process that answers calls."""

import gc

ALLOCATIONS_BETWEEN = 20_000


def collect_rarely() -> None:
    """Leave alone what is there now, for it stays to the end, and look at what calls make a little less often.

    Most of that goes by its reference counts; a look at everything would hold up a stop. For a whole process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_BETWEEN, 10, 100)
