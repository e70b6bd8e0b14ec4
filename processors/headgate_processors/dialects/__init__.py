"""Dialects: what each agent emits, as tables, and the engine that makes one schema of it."""

from headgate_processors.dialects.dialect import Dialect
from headgate_processors.dialects.normalise import Arrival, Normaliser, WireRequest
from headgate_processors.dialects.table import DialectBook, load_dialects

__all__ = ["Arrival", "Dialect", "DialectBook", "Normaliser", "WireRequest", "load_dialects"]
