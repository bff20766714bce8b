"""A sweep on disk: its directory, its launch record and its override strings."""
