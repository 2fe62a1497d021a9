"""Sweeps: methods x seeds, on one machine or on a Ray cluster."""
