"""Progress bars: on stderr, and only where somebody looks at them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headgate_console.cli.screen import Screen


@contextmanager
def progress(to: Screen, what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar for as long as the context lasts; call what it gives with how much is done, of how much if known."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=to.err, transient=True, disable=not to.err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
