"""Comparing runs: what `mtrl report` prints and draws."""
