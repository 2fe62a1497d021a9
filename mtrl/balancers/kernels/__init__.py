"""GPU kernels (Triton) of the balancers: one launch does what takes a method dozens of PyTorch's.

The methods use them for CUDA tensors if Triton is installed, as it is with PyTorch's CUDA builds for Linux. Without it
they fall back to PyTorch operations, which are slower and, where they decompose matrices, cannot be captured in
a CUDA graph. With the environment variable TRITON_INTERPRET=1 the kernels run in Triton's interpreter, on the CPU too.
"""

from mtrl.balancers.kernels.launch import (
    aligned,
    combine,
    cone,
    fair,
    gramian,
    impartial,
    nash,
    simplex,
    surgery,
    usable,
)

__all__ = [
    "aligned",
    "combine",
    "cone",
    "fair",
    "gramian",
    "impartial",
    "nash",
    "simplex",
    "surgery",
    "usable",
]
