"""Stops: who may do nothing any more, and who nothing new."""
