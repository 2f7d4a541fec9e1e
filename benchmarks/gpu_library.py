"""What the ladders are measured against: the libraries' own kernels.

`peers(operation, inputs)` gives the library functions that do the same on the same
arrays, each ready to be timed. PyTorch reads the arrays where they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Work = Callable[[], object]
Peers = dict[str, Work]

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def full_precision() -> None:
    """No TF32 in cuBLAS and cuDNN: float is float."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def tensor(array: Any) -> Tensor:
    """The same memory as a tensor; arrays of 16-bit words are bfloat16."""
    if array.dtype == "u2":
        return torch.from_dlpack(array.view("i2")).view(torch.bfloat16)
    return torch.from_dlpack(array)


def peers(operation: str, rung: str, inputs: tuple[Any, ...]) -> Peers:
    """Library functions by name, for a rung that has a peer of its own or its ladder.

    None for what no library has.
    """
    make = _PEERS.get((operation, rung), _PEERS.get(operation))
    return {} if make is None else make(*inputs)


def _vector_add(a: Any, b: Any) -> Peers:
    x, y = tensor(a), tensor(b)
    out = torch.empty_like(x)
    return {"torch.add": lambda: torch.add(x, y, out=out)}


def _transpose(a: Any) -> Peers:
    x = tensor(a)
    copy, turned = torch.empty_like(x), x.new_empty(x.shape[::-1])
    return {
        "torch copy": lambda: copy.copy_(x),
        "torch transpose": lambda: turned.copy_(x.t()),
    }


def _reduction(a: Any) -> Peers:
    x = tensor(a)
    found: Peers = {"torch.sum": lambda: torch.sum(x)}
    return found | _cupy("sum (CUB)", a, lambda cupy: cupy.sum(a))


def _scan(a: Any) -> Peers:
    x = tensor(a)
    out = torch.empty_like(x)
    found: Peers = {"torch.cumsum": lambda: torch.cumsum(x, 0, out=out)}
    return found | _cupy("cumsum", a, lambda cupy: cupy.cumsum(a))


def _histogram(a: Any) -> Peers:
    x = tensor(a)
    found: Peers = {"torch.bincount": lambda: torch.bincount(x, minlength=256)}
    return found | _cupy("bincount", a, lambda cupy: cupy.bincount(a, minlength=256))


def _matmul(a: Any, b: Any) -> Peers:
    x, y = tensor(a), tensor(b)
    out = x.new_empty((x.shape[0], y.shape[1]))
    name = f"torch.matmul, {str(x.dtype).removeprefix('torch.')}"
    return {name: lambda: torch.matmul(x, y, out=out)}


def _softmax(a: Any) -> Peers:
    x = tensor(a)
    return {"torch.softmax": lambda: torch.softmax(x, -1)}


def _cupy(name: str, array: Any, run: Callable[[Any], object]) -> Peers:
    """A peer in CuPy, for arrays that are CuPy's."""
    if not hasattr(array, "__cuda_array_interface__"):
        return {}
    import cupy  # pyright: ignore[reportMissingImports]

    return {f"cupy.{name}": lambda: run(cupy)}


def _attention(causal: bool) -> Callable[..., Peers]:
    def make(q: Any, k: Any, v: Any) -> Peers:
        return attention_forward(tensor(q), tensor(k), tensor(v), causal)

    return make


_PEERS: dict[str | tuple[str, str], Callable[..., Peers]] = {
    "vector_add": _vector_add,
    "transpose": _transpose,
    "reduction": _reduction,
    "scan": _scan,
    "histogram": _histogram,
    "matmul": _matmul,
    "softmax": _softmax,
    "attention": _attention(False),
    ("attention", "03_flash_fwd_causal"): _attention(True),
    # Half of a backward pass; the whole is in gpu_attention.py.
    ("attention", "04_flash_bwd"): lambda *_: {},
}


# --- attention -----------------------------------------------------------------------


def attention_forward(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Peers:
    """SDPA with each backend that takes these tensors, (heads, n, d).

    Causal here means bottom-right alignment, which SDPA's flag is for n = m alone;
    other shapes are not compared.
    """
    if causal and q.shape[-2] != k.shape[-2]:
        return {}
    q, k, v = _batched(q, k, v)
    return _by_backend(
        lambda: torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=causal
        )
    )


def attention_backward(
    q: Tensor, k: Tensor, v: Tensor, do: Tensor, causal: bool
) -> Peers:
    """The backward pass of SDPA with each backend, its forward pass not timed."""
    if causal and q.shape[-2] != k.shape[-2]:
        return {}
    leaves = [x.detach().requires_grad_() for x in _batched(q, k, v)]
    grad = do.reshape(1, *do.shape[-3:])
    found: Peers = {}
    for name, backend in BACKENDS.items():
        try:
            with sdpa_kernel(backend):
                out = torch.nn.functional.scaled_dot_product_attention(
                    leaves[0], leaves[1], leaves[2], is_causal=causal
                )

            def run(out: Tensor = out) -> object:
                return torch.autograd.grad(out, leaves, grad, retain_graph=True)

            run()
        except RuntimeError:
            continue  # this backend does not take these tensors
        found[f"SDPA backward, {name}"] = run
    return found


def _batched(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0)


def _by_backend(run: Work) -> Peers:
    found: Peers = {}
    for name, backend in BACKENDS.items():

        def once(backend: SDPBackend = backend) -> object:
            with sdpa_kernel(backend), torch.no_grad():
                return run()

        try:
            once()
        except RuntimeError:
            continue  # this backend does not take these tensors
        found[f"SDPA, {name}"] = once
    return found
