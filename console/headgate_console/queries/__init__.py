"""Questions to the views: each function takes a DuckDB connection and gives rows as dictionaries."""
