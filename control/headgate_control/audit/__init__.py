"""Audit: what was decided and changed, in chains of records that nobody can edit unseen."""
