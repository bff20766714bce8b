"""What to try next, as pure functions."""
