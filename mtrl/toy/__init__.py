"""Balancers on a problem of two tasks and two parameters."""
