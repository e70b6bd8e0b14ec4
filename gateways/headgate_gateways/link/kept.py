"""What a gateway knows of control, kept in a file, so that it can start while control is down."""

import logging
from pathlib import Path
from typing import Any

import orjson

from headgate_control.feed.messages import event_of, records_of
from headgate_gateways.link.replica import UNREADABLE, Replica
from headgate_processors.files import write_whole

FORMAT = 1
_LOG = logging.getLogger(__name__)


def content_of(replica: Replica) -> bytes:
    """What a file holds of a replica. Keys are in it as digests; no file opens anything."""
    return orjson.dumps(
        {
            "format": FORMAT,
            "run": replica.run,
            "position": replica.state.position,
            "policy": replica.policy,
            "records": list(records_of(replica.state)),
        }
    )


def keep(path: Path, content: bytes) -> None:
    """Put the file in place, for its owner alone.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, content)


def kept(path: Path) -> Replica:
    """What the file knew of control; nothing where there is no file, or none that this version can read."""
    replica = Replica()
    try:
        found: Any = orjson.loads(path.read_bytes())
        if found["format"] != FORMAT:
            _LOG.warning("%s is of another version: this gateway knows nothing until control speaks", path)
            return Replica()
        replica.use_policy(dict(found["policy"]))
        position = int(found["position"])
        replica.restore([event_of(record, position=position) for record in found["records"]], position)
        replica.run = found["run"]
    except FileNotFoundError:
        return Replica()
    except (OSError, *UNREADABLE) as error:
        _LOG.warning("%s cannot be read (%s): this gateway knows nothing until control speaks", path, error)
        return Replica()
    return replica
