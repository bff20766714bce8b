"""The state of this process that a trial can leave behind, and how it is put back before the next trial."""
