"""The model gateway: a streaming reverse proxy that decides, meters and, when it must, cuts."""
