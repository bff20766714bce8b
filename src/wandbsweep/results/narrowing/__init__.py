"""The next sweep: the search space narrowed to where the best trials are."""
