"""What is known about a sweep file's own program: its command, and how it is heard while it runs."""
