"""The tasks, one file each. See `envs.compiled.task.Task` for what a file says."""
