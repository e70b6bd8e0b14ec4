"""Enforcement points: what agents call through, and where a stop takes hold."""
