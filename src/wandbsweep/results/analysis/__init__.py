"""What a sweep's trials say: functions of a ``SweepData`` that return values."""
