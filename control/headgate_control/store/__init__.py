"""Control state: records of who and what there is, and a journal of every change, in SQLite or PostgreSQL."""
