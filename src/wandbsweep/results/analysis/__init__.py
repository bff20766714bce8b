"""Analyses of a sweep's trials: functions that take a ``SweepData`` and return values."""
