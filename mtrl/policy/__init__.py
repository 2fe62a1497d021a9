"""A policy at work: in training, loaded from a run, and exported for other programs."""
