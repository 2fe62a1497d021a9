"""GPU kernels (Triton) of the solvers: one launch does what takes dozens of PyTorch's.

`solvers` uses them for CUDA tensors if Triton is installed, as it is with PyTorch's CUDA builds for Linux. Without it
it falls back to PyTorch operations, which are slower and, where they decompose matrices, cannot be captured in
a CUDA graph. With the environment variable TRITON_INTERPRET=1 the kernels run in Triton's interpreter, on the CPU too.
"""

from mtrl.balancers.kernels.launch import (
    active_set,
    combine,
    fair,
    gramian,
    gramian_eigen,
    surgery,
    symmetric_eigen,
    usable,
    vaccinate,
)

__all__ = [
    "active_set",
    "combine",
    "fair",
    "gramian",
    "gramian_eigen",
    "surgery",
    "symmetric_eigen",
    "usable",
    "vaccinate",
]
