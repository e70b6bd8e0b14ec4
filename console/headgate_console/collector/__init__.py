"""The OpenTelemetry Collector: its configurations, their variables, where its binary is, and how it is started."""
