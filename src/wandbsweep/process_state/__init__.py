"""The state of this process that a trial may change, and the guard that restores it before the next trial."""
