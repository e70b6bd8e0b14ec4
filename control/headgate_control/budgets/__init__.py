"""Budgets: what may be spent in a window is reserved before a call and settled after it."""
