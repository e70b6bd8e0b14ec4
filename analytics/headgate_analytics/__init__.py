"""Spans to meaning: sessions, their model calls, tool calls and timeline."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate_analytics.derive import DeriveConfig, Derived, Deriver
    from headgate_analytics.schema import DERIVED
    from headgate_analytics.views import open_views

__all__ = ["DERIVED", "DeriveConfig", "Derived", "Deriver", "open_views"]


def __getattr__(name: str) -> object:
    """Load what is asked for, so that a question to the views does not wait for the job that derives them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = {"DERIVED": "schema", "open_views": "views"}.get(name, "derive")
    return getattr(import_module(f"{__name__}.{module}"), name)
