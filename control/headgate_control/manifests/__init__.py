"""Capability manifests: what an agent instance is for, in YAML. What no manifest names is refused."""
