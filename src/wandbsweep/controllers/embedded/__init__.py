"""Our own controller, on a shared file system or a database."""
