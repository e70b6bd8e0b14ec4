"""Errors of the commands, beside those of `headgate_processors.errors`."""

from headgate_processors.errors import HeadgateError


class CommandError(HeadgateError):
    """A command could not do what was asked; the message says why and what to do."""
