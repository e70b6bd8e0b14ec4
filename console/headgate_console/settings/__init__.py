"""Settings: one typed definition; flags, then `HEADGATE_…`, then `headgate.yaml`, then defaults."""

from headgate_console.settings.definition import Settings
from headgate_console.settings.description import described, json_schema
from headgate_console.settings.loading import Loaded, leaves, load_settings, value_of
from headgate_console.settings.values import split_address

__all__ = ["Loaded", "Settings", "described", "json_schema", "leaves", "load_settings", "split_address", "value_of"]
