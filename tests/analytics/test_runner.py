"""Where tasks run makes no difference to what comes out, and a process that dies does not end the job."""

import logging
from pathlib import Path

import pytest

from headgate_analytics.runner import InProcess, ProcessPool, Runner, Task, WorkerDiedError
from headgate_analytics.testing.tasks import Add, Die, Fail, ten


@pytest.mark.parametrize("runner", [InProcess(), ProcessPool(workers=2)], ids=["in process", "pool"])
def test_every_task_has_its_result(runner: Runner) -> None:
    """In whatever order; without tasks there are none, and no process is started."""
    assert [10, 11, 12, 13, 14] == sorted(runner.run(ten, [Add(number=number) for number in range(5)]))
    assert [] == list(runner.run(ten, []))


@pytest.mark.parametrize("runner", [InProcess(), ProcessPool(workers=1)], ids=["in process", "pool"])
def test_the_error_of_a_task_is_the_callers(runner: Runner) -> None:
    """The same error, not a wrapped one."""
    with pytest.raises(ValueError, match="this task fails"):
        list(runner.run(ten, [Fail()]))


def test_a_process_that_is_killed_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its task is tried again, the others are done, and the log says what died of what."""
    with caplog.at_level(logging.WARNING):
        tasks: list[Task[int, int]] = [Die(marks=tmp_path, times=1), Add(number=1), Add(number=2)]
        found = ProcessPool(workers=2).run(ten, tasks)
        assert [10, 11, 12] == sorted(found)
    assert "signal 9 at Die" in caplog.text


def test_a_task_that_kills_every_process_ends_the_job(tmp_path: Path) -> None:
    """It would kill for ever; the error names it and what to do."""
    with pytest.raises(WorkerDiedError, match=r"signal 9 at Die.*3 times.*fewer workers"):
        list(ProcessPool(workers=1).run(ten, [Die(marks=tmp_path, times=9)]))
