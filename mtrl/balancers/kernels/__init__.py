"""GPU kernels (Triton) of the balancers: one launch does what takes a method dozens of PyTorch's.

The methods use them for CUDA tensors. With the environment variable TRITON_INTERPRET=1 they run in Triton's
interpreter, on the CPU too.
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
