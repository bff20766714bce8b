"""Configurations that every project finds, such as ``hydra/launcher=slurm_gpu``."""
