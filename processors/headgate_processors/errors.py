"""The error tree: what failed, and whether sending the same thing again can help.

HeadgateError
├── ConfigError      a setting or file is wrong; the command ends with exit code 2
├── PermanentError   the same input fails again: `INVALID_ARGUMENT`, counted, dead-lettered
│   ├── TooLargeError    larger than the limit: permanent, so that nobody resends it for ever
│   ├── PoisonError      reading it ended the process that tried, again and again
│   ├── UnauthenticatedError  no credential where one is needed, or a wrong one: `UNAUTHENTICATED`
│   └── ForbiddenError   a sender that is known and may not: `PERMISSION_DENIED`
├── TransientError   a retry may help: `UNAVAILABLE`
│   └── OverloadError    a queue or disk bound was reached: `RESOURCE_EXHAUSTED` with `RetryInfo`
└── StoreError       the store on disk is held, newer, or damaged; the message says what to do
"""


class HeadgateError(Exception):
    """Base of every error that Headgate raises on purpose."""


class ConfigError(HeadgateError):
    """A setting, flag or configuration file is wrong."""


class PermanentError(HeadgateError):
    """The same input would fail again."""


class TooLargeError(PermanentError):
    """The input is larger than a limit allows."""


class PoisonError(PermanentError):
    """Reading the input ended the process that tried, more than once."""


class UnauthenticatedError(PermanentError):
    """The sender has no credential where one is needed, or a wrong one."""


class ForbiddenError(PermanentError):
    """The sender is known and may not do what it asks."""


class TransientError(HeadgateError):
    """A retry of the same input may succeed."""


class OverloadError(TransientError):
    """A bound was reached; `retry_after_s` says when to try again."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreError(HeadgateError):
    """The store cannot be used as asked; the message names the holder or the damage."""
