"""A key that a command prints, such as the client of a secret manager: asked for seldom, and never by a call."""

import logging
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from headgate_processors.errors import ConfigError, TransientError

WAIT_S = 10.0
KEPT_S = 300.0
"""How old a key may become before the command is asked again, beside the calls that go on with it."""
KEPT_MAX_S = 3_600.0
"""How old it may become where the command fails."""
AGAIN_S = 5.0
OUTPUT_BYTES_MAX = 8_192
_LOG = logging.getLogger(__name__)


class KeyCommand:
    """Runs a command without a shell, and keeps what it prints. Safe for many threads.

    It runs once when this is made, which may wait `wait_s`, and later in a thread of its own, one at a time.
    """

    def __init__(
        self,
        line: str,
        *,
        wait_s: float = WAIT_S,
        kept_s: float = KEPT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask for the first time; that there is no key yet is no error.

        Raises:
            ConfigError: the line is no command.
        """
        try:
            self._words = shlex.split(line)
        except ValueError as error:
            raise ConfigError(f"api_key command:{line}: {error}") from error
        if not self._words:
            raise ConfigError("api_key command: expected a command line, such as `command:vault kv get …`")
        self._wait_s, self._kept_s, self._clock = wait_s, kept_s, clock
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._key: str | None = None
        self._asked_s = self._read_s = -KEPT_MAX_S
        self._ask()

    def __call__(self) -> str:
        """The key, as it was said last.

        Raises:
            TransientError: the command has given none, or none for an hour.
        """
        now = self._clock()
        with self._lock:
            key, age_s, since_s = self._key, now - self._read_s, now - self._asked_s
        if age_s >= self._kept_s and since_s >= min(AGAIN_S, self._kept_s) and not self._asking.locked():
            threading.Thread(target=self._ask, name="provider-key", daemon=True).start()
        if key is None or age_s > KEPT_MAX_S:
            raise TransientError(f"there is no key of the provider: {self._words[0]} gives none")
        return key

    def _ask(self) -> None:
        if not self._asking.acquire(blocking=False):
            return
        try:
            self._asked_s = self._clock()
            found = _printed(self._words, self._wait_s)
            with self._lock:
                self._key, self._read_s = found, self._asked_s
        except (TransientError, OSError) as error:
            _LOG.warning("the key of a provider could not be had: %s", error)
        finally:
            self._asking.release()


def _printed(words: list[str], wait_s: float) -> str:
    """What a command prints; its complaints go where ours do.

    Raises:
        TransientError: it fails, takes too long, or prints nothing, no text or too much.
        OSError: it cannot be run.
    """
    with subprocess.Popen(  # noqa: S603 - the operator's own command, split without a shell
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        timer = threading.Timer(wait_s, _end, [process])
        timer.start()
        try:
            output = process.stdout.read(OUTPUT_BYTES_MAX + 1) if process.stdout is not None else b""
            if len(output) > OUTPUT_BYTES_MAX:
                raise TransientError(f"{words[0]} prints more than {OUTPUT_BYTES_MAX} bytes")
            status = process.wait()
        finally:
            _end(process)
            timer.cancel()
    if status:
        how = f"did not end within {wait_s:g} seconds" if status == -signal.SIGKILL else f"ended with {status}"
        raise TransientError(f"{words[0]} {how}")
    try:
        found = output.decode().strip()
    except UnicodeDecodeError:
        raise TransientError(f"{words[0]} prints no text") from None
    if not found:
        raise TransientError(f"{words[0]} prints nothing")
    return found


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a command and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
