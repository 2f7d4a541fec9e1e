"""CUDA C kernels, the ladder of each operation, and ways to run and judge them.

`Kernel` runs a CUDA C source on NumPy arrays through the CPU simulator and on
CuPy arrays on a GPU, and compiles it with NVIDIA's compiler without either;
`ladders` holds the kernels of each operation with their launches; `check.agree`
is the one comparator; `reference` holds what each kernel must compute.
"""

from cuda_labs import check, ladders, nvrtc, reference
from cuda_labs.errors import CompileError, CompilerMissing, KernelError, Unsupported
from cuda_labs.kernel import Kernel

__all__ = [
    "CompileError",
    "CompilerMissing",
    "Kernel",
    "KernelError",
    "Unsupported",
    "check",
    "ladders",
    "nvrtc",
    "reference",
]
