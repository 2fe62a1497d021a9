"""What is particular to a device: CUDA graphs, copies, random numbers, a CPU's settings."""
