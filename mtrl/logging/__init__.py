"""Metrics of a run: how they are gathered, written and drawn."""
