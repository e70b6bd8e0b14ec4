"""Builders and small doubles of the outside world, for the tests of every room."""
