"""Small real things for tests of the reconstruction."""
