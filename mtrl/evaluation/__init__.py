"""Evaluating policies: during training, from checkpoints, as tables and clips."""
