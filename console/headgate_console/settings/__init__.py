"""Settings: one typed definition; flags, then `HEADGATE_…`, then `headgate.yaml`, then defaults."""

from headgate_console.settings.definition import Settings
from headgate_console.settings.loading import Loaded, leaves, load_settings, value_of
from headgate_console.settings.values import split_address

__all__ = ["Loaded", "Settings", "leaves", "load_settings", "split_address", "value_of"]
