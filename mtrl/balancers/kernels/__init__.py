"""GPU kernels (Triton) of the solvers: one launch does what takes dozens of PyTorch's.

`solvers` uses them for CUDA tensors. With the environment variable TRITON_INTERPRET=1 they run in Triton's
interpreter, on the CPU too.
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
