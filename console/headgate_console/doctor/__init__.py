"""The doctor: what is wrong with a store and what it was sent, and what to do about each."""

from headgate_console.doctor.examine import examine
from headgate_console.doctor.finding import Finding, Level
from headgate_console.doctor.folder import examine_folder

__all__ = ["Finding", "Level", "examine", "examine_folder"]
