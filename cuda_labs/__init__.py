"""CUDA C kernels, the ladder of each operation, and ways to run and judge them.

`Kernel` runs a CUDA C source on NumPy arrays through the CPU simulator and on
CuPy arrays on a GPU, and compiles it with NVIDIA's compiler without either;
`ladders` holds the kernels of each operation with their launches; `check.agree`
is the one comparator; `reference` holds what each kernel must compute.
`attention` runs on torch tensors, with gradients; only its use imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cuda_labs import check, ladders, nvrtc, reference
from cuda_labs.errors import CompileError, CompilerMissing, KernelError, Unsupported
from cuda_labs.kernel import Kernel

if TYPE_CHECKING:
    from cuda_labs.autograd import attention

__all__ = [
    "CompileError",
    "CompilerMissing",
    "Kernel",
    "KernelError",
    "Unsupported",
    "attention",
    "check",
    "ladders",
    "nvrtc",
    "reference",
]


def __getattr__(name: str) -> Any:
    """`attention`, when it is first asked for: torch takes a second to import."""
    if name != "attention":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cuda_labs.autograd import attention

    return attention
