"""What came out of a sweep, read from where it is stored."""
