"""A sweep in a terminal."""
