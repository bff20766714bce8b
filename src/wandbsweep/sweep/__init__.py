"""A sweep on disk."""
