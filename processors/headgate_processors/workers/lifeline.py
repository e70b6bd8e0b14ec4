"""A process that must not outlive the one that started it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def die_without(parent_pid: int) -> None:
    """As `die_with_parent`; also ends this process at once when its parent is gone already."""
    die_with_parent()
    if os.getppid() != parent_pid:
        os._exit(0)
