"""Which trials to stop, as pure functions of settings and histories."""

from wandbsweep.stopping.successive_halving import hyperband

__all__ = ["hyperband"]
