"""Errors of the commands, beside those of `headgate_processors.errors`."""

from headgate_processors.errors import HeadgateError


class CommandError(HeadgateError):
    """A command could not do what was asked; the message says why and what to do."""


def about_file(error: OSError) -> str:
    """What a file, a folder or the disk refused, as one sentence; the error itself when it is about none."""
    if error.filename is None:
        raise error
    return (
        f"{error.filename}: {error.strerror}. Expected a place that is there, with room, and that you may write to: "
        "give another one, or change who may"
    )
