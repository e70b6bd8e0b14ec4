"""The receiver: OTLP over gRPC and HTTP in, every failure answered so that no good data is thrown away.

`port` is what a receiver calls, `server` puts the parts together, `status` decides what every failure is
answered with, `dead_letters` keeps the bytes that were refused.
"""
