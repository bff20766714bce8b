"""Reading a sweep, and its analyses, tables and report."""
