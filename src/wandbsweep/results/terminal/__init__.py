"""How a terminal shows a sweep."""
