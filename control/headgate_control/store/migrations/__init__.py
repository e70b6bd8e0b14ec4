"""Versions of the tables of control state."""
