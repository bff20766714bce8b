"""Sweep files: their format, their rules, and the values that they are read into."""
