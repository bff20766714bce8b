"""``wandbsweep evaluate``: a sweep's best configurations, trained again with other seeds."""
