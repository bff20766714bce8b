"""Everything that uses Hydra: the command line, the search space, the snapshot and the trials' jobs."""
