"""The launching process."""
