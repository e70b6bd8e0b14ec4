"""The bundle that stands where a site has none: manifests say what is granted, and policies add nothing to it."""
