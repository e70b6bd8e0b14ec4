"""Small things that tests of the console need."""
