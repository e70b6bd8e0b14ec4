"""Limits: how many calls a scope may make in a minute, and how many may run at once."""
