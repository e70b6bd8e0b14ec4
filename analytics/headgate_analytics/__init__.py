"""Spans to meaning: sessions, their model calls, tool calls and timeline."""

from headgate_analytics.derive import DeriveConfig, Derived, Deriver
from headgate_analytics.schema import DERIVED
from headgate_analytics.views import open_views

__all__ = ["DERIVED", "DeriveConfig", "Derived", "Deriver", "open_views"]
