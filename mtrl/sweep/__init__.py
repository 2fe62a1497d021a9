"""Sweeps: methods x seeds, on one machine or on a Ray cluster."""

CORES = "MTRL_CORES"  # a variable of a run's process: the cores that it is kept to
