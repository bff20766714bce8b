"""The process that runs trials."""
