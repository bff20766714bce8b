"""The next sweep's space, from this one's trials."""
