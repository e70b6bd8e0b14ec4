"""People's surfaces: the command line, settings, the demo, and the wiring of `headgate up`."""
