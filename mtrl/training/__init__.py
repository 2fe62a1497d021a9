"""Training: collect, learn, log, evaluate, keep."""
