"""How results look: numbers, tables that fit, bars on one time scale, the timeline of a session."""
