"""The log on disk: what was acknowledged is there after a crash, in one chain, whatever the disk does."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headgate_control.audit.chain import Anchor
from headgate_control.audit.log import AuditLog, LogConfig, log_faults, writers
from headgate_processors.errors import StoreError, TransientError

SMALL = LogConfig(file_bytes_max=1_000, line_bytes_max=900)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    """A log in small files."""
    with closing(AuditLog.open(tmp_path, "control-1", SMALL)) as made:
        yield made


def wrong(folder: Path, *anchors: Anchor) -> list[str]:
    """What is wrong with the log of the fixture."""
    return [fault.problem for fault in log_faults(folder, "control-1", anchors)]


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    """Over files and starts it is one chain."""
    numbers = []
    for start in range(3):
        with closing(AuditLog.open(tmp_path, "control-1", SMALL)) as log:
            numbers += [log.append({"start": start, "turn": turn}).number for turn in range(10)]
            anchor = log.anchor()
    assert list(range(1, 31)) == numbers
    assert ([], ["control-1"]) == (wrong(tmp_path, anchor), writers(tmp_path))
    assert len(list(tmp_path.glob("*.jsonl"))) > 3


@pytest.mark.parametrize("left", [0, 1, 50])
def test_a_line_that_a_crash_cut_short_is_cut_off(tmp_path: Path, log: AuditLog, left: int) -> None:
    """It was never acknowledged, and the chain goes on before it."""
    log.append({"turn": 1})
    log.close()
    line = AuditLog.open(tmp_path / "other", "control-1").append({"turn": 2}).line()
    with next(tmp_path.glob("*.jsonl")).open("ab") as file:
        file.write(line[:left])
    assert [] == wrong(tmp_path)
    with closing(AuditLog.open(tmp_path, "control-1", SMALL)) as again:
        assert 2 == again.append({"turn": 2}).number
    assert [] == wrong(tmp_path)


def test_a_damaged_last_line_is_not_gone_on_from(tmp_path: Path, log: AuditLog) -> None:
    """Whoever starts it is told where to look."""
    log.append({"turn": 1})
    log.close()
    path = next(tmp_path.glob("*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"turn", b"torn")[:-1] + b"}\n")
    with pytest.raises(StoreError, match="its last line is damaged"):
        AuditLog.open(tmp_path, "control-1")
    assert ["no record of a chain"] == [problem.partition(": ")[2].partition(":")[0] for problem in wrong(tmp_path)]


def test_a_record_that_is_too_large_is_refused_and_leaves_no_trace(tmp_path: Path, log: AuditLog) -> None:
    """The next one follows the one before."""
    log.append({"turn": 1})
    with pytest.raises(TransientError, match=r"so nothing is allowed: a record of 1\d+ bytes; 900 are allowed"):
        log.append({"turn": "x" * 1_000})
    assert 2 == log.append({"turn": 2}).number
    assert [] == wrong(tmp_path, log.anchor())


def test_a_disk_that_refuses_allows_nothing(tmp_path: Path) -> None:
    """What was not written is not in the chain; with room again it goes on."""
    full = os.open("/dev/full", os.O_WRONLY)
    with closing(AuditLog.open(tmp_path, "control-1")) as log:
        log.append({"turn": 1})
        log._file, kept = full, log._file
        with pytest.raises(TransientError, match="No space left on device"):
            log.append({"turn": 2})
        log._file, log._broken = kept, None
        os.close(full)
        assert 2 == log.append({"turn": 2}).number
    assert [] == wrong(tmp_path)


def test_many_threads_make_one_chain(tmp_path: Path, log: AuditLog) -> None:
    """Each waits until its record is durable."""

    def work() -> None:
        for turn in range(20):
            log.sync(log.append({"thread": threading.get_ident(), "turn": turn}))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (80, []) == (log.anchor().number, wrong(tmp_path, log.anchor()))


def test_a_log_has_one_writer(tmp_path: Path, log: AuditLog) -> None:
    """A second one of the name is refused; one of another name has a chain of its own."""
    with pytest.raises(StoreError, match="as writer 'control-1'"):
        AuditLog.open(tmp_path, "control-1")
    with closing(AuditLog.open(tmp_path, "control-2")) as other:
        assert 1 == other.append({}).number


def test_a_closed_log_says_so(log: AuditLog) -> None:
    """And closing it twice is no error."""
    log.close()
    log.close()
    with pytest.raises(TransientError, match="the log is closed"):
        log.append({})


def test_a_file_that_is_missing_is_found(tmp_path: Path, log: AuditLog) -> None:
    """In the middle by what follows, at the end by the anchor."""
    for turn in range(20):
        log.append({"turn": turn})
    anchor, paths = log.anchor(), sorted(tmp_path.glob("*.jsonl"))
    for path in (paths[1], paths[-1]):
        content = path.read_bytes()
        path.unlink()
        assert [] != wrong(tmp_path, anchor)
        path.write_bytes(content)
    assert [] == wrong(tmp_path, anchor)
