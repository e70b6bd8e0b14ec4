"""Replay: recorded OTLP from files, to be ingested here or sent as real OTLP.

`files` reads, `suffix` makes another session of what was read, `sender` sends.
"""
