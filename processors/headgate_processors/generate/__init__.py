"""Volume: as many sessions as wanted, made from recorded ones by deriving ids, times and words anew.

`recorded` holds the sessions to start from, `slots` knows what changes in them, `plan` says which session
starts when, `load` makes export requests of it and `rows` rows of the store.
"""

from headgate_processors.generate.load import Load
from headgate_processors.generate.plan import PlanConfig
from headgate_processors.generate.recorded import RecordedSession, read_sessions
from headgate_processors.generate.template import Template, compiled
from headgate_processors.generate.truth import Truth

__all__ = ["Load", "PlanConfig", "RecordedSession", "Template", "Truth", "compiled", "read_sessions"]
