"""Which trials to stop early: pure functions of settings and histories."""

from wandbsweep.stopping.successive_halving import hyperband

__all__ = ["hyperband"]
