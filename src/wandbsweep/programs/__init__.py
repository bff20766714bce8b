"""What is known about a sweep file's own program: its command, and how its metrics are read while it runs."""
