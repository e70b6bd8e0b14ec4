"""Decisions: who may do what. Manifests say what an agent instance is for; everything else is refused."""
