"""Which policies were decided by, and when: each change is in the journal, and the texts behind a digest are kept.

The texts are files of `policies/` beside the logs, one for each bundle by its digest; the journal has the SHA-256 of
each. The oldest go when there are more than `KEPT_MAX`, or more bytes than `KEPT_BYTES_MAX`, and the journal says so.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from headgate_control.store.port import ControlStore
from headgate_control.store.record import Body, Change
from headgate_processors.files import write_whole

if TYPE_CHECKING:
    from headgate_control.policy.bundle import Bundle

FOLDER = "policies"
POLICY, IN_USE = "policy", "policy_in_use"
"""The kinds of records: a bundle whose texts are kept, and what a node decides by."""
USE, REFUSE, FORGET = "policy.use", "policy.refuse", "policy.forget"
KEPT_MAX = 500
KEPT_BYTES_MAX = 64 << 20
ONE_BYTES_MAX = 16 << 20
WAITING_MAX = 64
REFUSED_AGAIN_NS = 60_000_000_000
PROBLEM_CHARS_MAX = 2_000
_SUFFIX = ".json"


class PolicyJournal:
    """Tells the journal of a node's policies. `use` and `refused` wait for nothing; `tell` is for one thread."""

    def __init__(
        self, store: ControlStore, folder: Path, *, node: str, clock: Callable[[], int] = time.time_ns
    ) -> None:
        """Keep texts in `folder`, for the node that writes the journal as `node`."""
        self._store, self._folder, self._node, self._clock = store, folder, node, clock
        self._guard = threading.Lock()
        self._bundles: deque[Bundle] = deque(maxlen=WAITING_MAX)
        self._problem: str | None = None
        self._refused_unix_nano = 0

    @property
    def problem(self) -> str | None:
        """Why the policies that lie there now are refused; None where they are decided by."""
        return self._problem

    def use(self, bundle: "Bundle") -> None:
        """It is decided by from now on."""
        with self._guard:
            self._bundles.append(bundle)
            self._problem = None

    def refused(self, problem: str | None) -> None:
        """What lies there now is refused for that; None: it is what is decided by, again."""
        self._problem = problem if problem is None else problem[:PROBLEM_CHARS_MAX]

    def tell(self) -> None:
        """Write down what is new.

        Raises:
            TransientError: the journal cannot be written.
            OSError: the texts cannot be.
        """
        while self._bundles:
            bundle = self._bundles[0]
            self._used(bundle)
            with self._guard:
                if self._bundles and self._bundles[0] is bundle:
                    self._bundles.popleft()
        self._told_problem(self._problem)

    def _used(self, bundle: "Bundle") -> None:
        kept = list(self._kept(bundle))
        body = {"node": self._node, "digest": bundle.digest, "policies": len(bundle.policies), "refused": None}
        before = self._store.get(IN_USE, self._node)
        changes = [*kept, *([] if before is not None and before.body == body else [_in_use(self._node, body)])]
        if changes:
            self._store.change(changes, author=self._node, action=USE)
        self._forget(bundle.digest)

    def _kept(self, bundle: "Bundle") -> Iterator[Change]:
        """Keep the texts of a bundle; the record of it, where there is none yet."""
        record_id = f"{self._node}:{bundle.digest}"
        content = orjson.dumps(
            {"digest": bundle.digest, "texts": dict(bundle.texts), "arguments": dict(bundle.arguments)},
            option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2,
        )
        path, is_kept = text_path(self._folder, bundle.digest), len(content) <= ONE_BYTES_MAX
        found = self._store.get(POLICY, record_id)
        body = {
            "node": self._node,
            "digest": bundle.digest,
            "sha256": sha256(content).hexdigest() if is_kept else None,
            "bytes": len(content),
            "files": sorted(bundle.texts),
        }
        is_new = found is None or found.body != body
        if is_kept and (is_new or not path.is_file()):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(path, content)
        if is_new:
            yield Change(kind=POLICY, id=record_id, body=body)

    def _told_problem(self, problem: str | None) -> None:
        before, now = self._store.get(IN_USE, self._node), self._clock()
        if before is None or problem == _problem(before.body):
            return
        if problem is not None and now - self._refused_unix_nano < REFUSED_AGAIN_NS:
            return
        refused = None if problem is None else {"problem": problem, "since_unix_nano": now}
        if problem is not None:
            self._refused_unix_nano = now
        change = _in_use(self._node, {**before.body, "refused": refused})
        action = USE if problem is None else REFUSE
        self._store.change([change], author=self._node, action=action, reason=problem or "")

    def _forget(self, digest: str) -> None:
        """Let the oldest texts go that are too many; those that are decided by stay."""
        left, size = KEPT_MAX, KEPT_BYTES_MAX
        for path in sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda one: -one.stat().st_mtime_ns):
            left, size = left - 1, size - path.stat().st_size
            if (left >= 0 and size >= 0) or path == text_path(self._folder, digest):
                continue
            gone = Change(kind=POLICY, id=f"{self._node}:sha256:{path.stem}", body=None)
            self._store.change([gone], author=self._node, action=FORGET, reason="there are newer ones")
            path.unlink(missing_ok=True)


def text_path(folder: Path, digest: str) -> Path:
    """The file with the texts of a bundle."""
    return folder / f"{digest.removeprefix('sha256:')}{_SUFFIX}"


def in_use(store: ControlStore) -> list[Body]:
    """What each node decides by: `node`, `digest`, `policies`, and under `refused` what is wrong with newer ones.

    Raises:
        TransientError: the store cannot be read.
    """
    return [record.body for record in store.all(IN_USE)]


def text_problems(store: ControlStore, folder: Path, own: str) -> Iterator[tuple[str, str]]:
    """Texts that are not those that the journal has the digest of, by file; those of `own` node must be there.

    Raises:
        TransientError: the store cannot be read.
    """
    for record in store.all(POLICY, unreadable=[]):
        digest, expected = str(record.body.get("digest")), record.body.get("sha256")
        path = text_path(folder, digest)
        try:
            found: str | None = sha256(path.read_bytes()).hexdigest()
        except OSError:
            found = None
        is_missing = found is None and record.body.get("node") == own
        if expected is not None and (is_missing or found not in (None, expected)):
            yield f"{FOLDER}/{path.name}", "it is missing" if is_missing else "it was changed: its SHA-256 is another"


def kept_texts(store: ControlStore, folder: Path) -> Mapping[str, Path]:
    """The files of texts, by the digest of their bundle."""
    digests = {str(record.body.get("digest")) for record in store.all(POLICY, unreadable=[])}
    return {digest: path for digest in digests if (path := text_path(folder, digest)).is_file()}


def _in_use(node: str, body: Body) -> Change:
    return Change(kind=IN_USE, id=node, body=body)


def _problem(body: Body) -> str | None:
    refused = body.get("refused")
    return str(refused["problem"]) if isinstance(refused, dict) else None
