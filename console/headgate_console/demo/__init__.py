"""The demo: recordings of real agents through real OTLP, and what Headgate tells of them."""
