"""Decisions: one pure function over one immutable snapshot. Whatever is in doubt is denied."""
