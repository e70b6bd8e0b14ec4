"""The doctor: what is wrong with a store and what it was sent, and what to do about each."""
