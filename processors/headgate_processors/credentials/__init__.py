"""Credentials: who sent something, by token, certificate or a Collector's stamp; nothing else says so."""
