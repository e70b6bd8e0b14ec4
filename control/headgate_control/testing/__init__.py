"""What tests of control and of what builds on it share."""
