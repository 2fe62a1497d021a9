"""The operating system: files, processes, signals, terminals. Nothing here knows what a run is."""
