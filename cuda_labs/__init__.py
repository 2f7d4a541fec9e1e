"""CUDA C kernels, the ladder of each operation, and ways to run and judge them.

`nvrtc.build` compiles a kernel with NVIDIA's compiler, without a GPU;
`check.agree` is the one comparator; `reference` holds what each kernel must
compute.
"""

from cuda_labs import check, nvrtc, reference

__all__ = ["check", "nvrtc", "reference"]
