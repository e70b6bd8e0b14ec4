"""Spans in: OTLP decoded, given meaning and identity, stored as Parquet. `pipeline` wires the parts."""
